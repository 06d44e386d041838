"""Servers of the same models: ours, and TensorFlow Serving if available."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import requests

from stftgan_tf.serving import model_config
from stftgan_tf.serving.options import ServerOptions
from stftgan_tf.serving.server import Server
from tests.stftgan_tf.conftest import TF_MODEL_SERVER, free_port
from tests.stftgan_tf.serving.conformance import models

# A ModelServerConfig, which both servers read.
CONFIG = """
model_config_list {{
  config {{ name: "half_plus_two" base_path: "{0}/half_plus_two"
           model_platform: "tensorflow" }}
  config {{ name: "half_plus_three" base_path: "{0}/half_plus_three"
           model_platform: "tensorflow" }}
  config {{ name: "team/half:three" base_path: "{0}/half_plus_three"
           model_platform: "tensorflow" }}
  config {{
    name: "two_versions" base_path: "{0}/two_versions"
    model_platform: "tensorflow"
    model_version_policy {{ specific {{ versions: 1 versions: 2 }} }}
    version_labels {{ key: "stable" value: 1 }}
    version_labels {{ key: "canary" value: 2 }}
  }}
  config {{ name: "echo" base_path: "{0}/echo" model_platform: "tensorflow" }}
}}
"""

# One of them has two versions.
MODELS = (
    "half_plus_two",
    "half_plus_three",
    "team%2Fhalf%3Athree",
    "two_versions",
    "echo",
)

_START_SECS = 180


def save_models(directory: Path) -> Path:
    """Saves the models, and returns the file that describes them."""
    models.save_half_plus_two(directory / "half_plus_two" / "123")
    models.save_half_plus(directory / "half_plus_three" / "123", 3.0)
    models.save_half_plus(directory / "two_versions" / "1", 1.0)
    models.save_half_plus(directory / "two_versions" / "2", 2.0)
    models.save_echo(directory / "echo" / "1")
    config = directory / "models.config"
    config.write_text(CONFIG.format(directory))
    return config


@contextlib.contextmanager
def ours(config: Path) -> Iterator[tuple[int, int]]:
    """Yields the REST and gRPC ports of our server."""
    options = ServerOptions(
        model_config.read(config), rest_api_port=0, port=0, max_batch_size=16
    )
    server = Server(options)
    try:
        yield server.rest_api_port, server.port
    finally:
        server.stop()


@contextlib.contextmanager
def tensorflow_serving(config: Path) -> Iterator[tuple[int, int]]:
    """Yields the REST and gRPC ports of tensorflow_model_server."""
    rest, port = free_port(), free_port()
    process = subprocess.Popen(
        [
            TF_MODEL_SERVER,
            f"--model_config_file={config}",
            "--allow_version_labels_for_unavailable_models",
            f"--rest_api_port={rest}",
            f"--port={port}",
        ]
    )
    try:
        deadline = time.monotonic() + _START_SECS
        while not _is_ready(f"http://127.0.0.1:{rest}"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{TF_MODEL_SERVER} does not start")
            time.sleep(0.2)
        yield rest, port
    finally:
        process.terminate()
        process.wait()


def _is_ready(address: str) -> bool:
    """Whether all versions of all models are available."""
    try:
        answers = [
            requests.get(f"{address}/v1/models/{name}", timeout=5).text
            for name in MODELS
        ]
    except requests.ConnectionError:
        return False
    return sum(text.count("AVAILABLE") for text in answers) == 1 + len(MODELS)
