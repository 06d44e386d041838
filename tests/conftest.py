"""Real recordings, shards, runs and exports that tests share."""

import contextlib
import importlib.util
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline import preprocess
from pipeline.sources import demo
from stftgan_tf import config as config_lib

# gRPC's own handlers of fork() can abort the child of a process with a server.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

ROOT = Path(__file__).resolve().parents[1]
SPEECH = ROOT.parent / "shared" / "speech"

CASES = ROOT.parent / "shared" / "cases"

needs_cases = pytest.mark.skipif(
    not CASES.is_dir(), reason=f"no inputs in {CASES}"
)

needs_speech = pytest.mark.skipif(
    not SPEECH.is_dir(), reason=f"no recordings in {SPEECH}"
)

needs_tfio = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_io") is None,
    reason="tensorflow-io is not installed",
)


# Fixtures that train or export a model.
TRAINING_FIXTURES = {"trained_run", "export", "evaluation"}

# Files whose tests train models or run whole commands themselves.
TRAINING_FILES = {
    "test_benchmarks.py",
    "test_docs.py",
    "test_evaluate.py",
    "test_export.py",
    "test_loop.py",
    "test_old_versions.py",
    "test_run.py",
    "test_signatures.py",
    "test_storage.py",
    "test_wgan.py",
}


def pytest_collection_modifyitems(items):
    """Marks tests that need a trained model, for `make test-fast`."""
    for item in items:
        uses_model = TRAINING_FIXTURES & set(item.fixturenames)
        if uses_model or item.path.name in TRAINING_FILES:
            item.add_marker("trains")


@contextlib.contextmanager
def unchanged_logging():
    """Removes handlers that commands added, which write to captured streams."""
    handlers = logging.root.handlers[:]
    yield
    logging.root.handlers[:] = handlers


@pytest.fixture(autouse=True)
def _unchanged_logging():
    with unchanged_logging():
        yield


def run_command(*args, **kwargs) -> subprocess.CompletedProcess:
    """Runs `python -m ARGS` in its own process and captures its output."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", *map(str, args)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        **kwargs,
    )


def noise(samples: int) -> np.ndarray:
    """Samples [N] of white noise, the same every time."""
    return np.random.default_rng(0).uniform(-0.5, 0.5, samples)


@pytest.fixture(scope="session")
def tiny():
    return config_lib.load("tiny")


@pytest.fixture(scope="session")
def recordings(tmp_path_factory) -> Path:
    """60 spoken digits of the demo corpus: 2 speakers, 3 takes."""
    directory = tmp_path_factory.mktemp("digits")
    demo.write(directory, ["adam", "dora"], 3)
    return directory


@pytest.fixture(scope="session")
def shards(recordings, tmp_path_factory) -> Path:
    """A data set of `recordings`, made by the command."""
    output = tmp_path_factory.mktemp("shards") / "digits"
    assert preprocess_tiny(recordings, output) == 0
    return output


@pytest.fixture(scope="session")
def trained_run(shards, tmp_path_factory) -> Path:
    """A run of 20 steps."""
    from stftgan_tf import train

    run = tmp_path_factory.mktemp("runs") / "digits"
    assert train.main(train_args(shards, run)) == 0
    return run


@pytest.fixture(scope="session")
def export(trained_run, tmp_path_factory) -> Path:
    """The export of `trained_run`."""
    from stftgan_tf import export as export_lib

    output = tmp_path_factory.mktemp("exports") / "digits"
    args = ["--run", str(trained_run), "--output", str(output)]
    assert export_lib.main(args) == 0
    return output


@pytest.fixture(scope="session")
def cached_shards(shards, tmp_path_factory) -> Path:
    """A copy of `shards` in which a classifier may be cached."""
    directory = tmp_path_factory.mktemp("cached") / "digits"
    return Path(shutil.copytree(shards, directory))


@pytest.fixture
def shards_copy(shards, tmp_path) -> Path:
    """A copy of `shards` that a test may damage."""
    return Path(shutil.copytree(shards, tmp_path / "shards"))


def preprocess_tiny(source, output, *more) -> int:
    args = ["--runner=FnApiRunner", "--config=tiny"]
    args += [f"--source={source}", f"--output={output}", *more]
    with unchanged_logging():
        return preprocess.main(args)


def train_args(shards, run, *more) -> list[str]:
    return ["--config=tiny", f"--data={shards}", f"--run={run}", *more]


def worker_environments(count: int) -> list[dict[str, str]]:
    """Environments of the workers of one training on this machine."""
    sockets = [socket.socket() for _ in range(count)]
    for free in sockets:
        free.bind(("127.0.0.1", 0))
    hosts = [f"127.0.0.1:{free.getsockname()[1]}" for free in sockets]
    for free in sockets:
        free.close()
    tasks = [{"type": "worker", "index": index} for index in range(count)]
    clusters = [{"cluster": {"worker": hosts}, "task": task} for task in tasks]
    return [{**os.environ, "TF_CONFIG": json.dumps(c)} for c in clusters]


@pytest.fixture(scope="session")
def half_plus_two(tmp_path_factory) -> Path:
    """Versions of TensorFlow Serving's own example model: x / 2 + 2."""
    base = tmp_path_factory.mktemp("half_plus_two")
    save_half_plus(base / "123", 2.0)
    return base


def save_half_plus(path: Path, summand: float) -> None:
    """Saves y = x / 2 + summand, x float32 [B]."""
    import tensorflow as tf

    class Half(tf.Module):
        def __init__(self):
            super().__init__()
            self.summand = tf.Variable(summand)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
        def call(self, x):
            return {"y": x / 2 + self.summand}

    model = Half()
    staging = path.with_name(f".incomplete-{path.name}")
    signatures = {"serving_default": model.call}
    tf.saved_model.save(model, str(staging), signatures)
    staging.rename(path)


def serve(base: Path, **options):
    """Starts a server in this process on free ports; the caller stops it."""
    from stftgan_tf.serving.model_config import ModelConfig
    from stftgan_tf.serving.options import ServerOptions
    from stftgan_tf.serving.server import Server

    ports = {"port": 0, "rest_api_port": 0}
    models = {options.pop("model_name", "default"): ModelConfig(base)}
    return Server(ServerOptions(models, **(ports | options)))
