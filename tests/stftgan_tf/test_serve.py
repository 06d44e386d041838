import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import requests
import yaml

from stftgan_tf import serve
from stftgan_tf.saved_model import loading
from stftgan_tf.serving.client import connect
from stftgan_tf.serving.client_base import ServerError
from tests.conftest import ROOT

grpc = pytest.importorskip("grpc")
pytest.importorskip("tensorflow_serving")

from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: E402


def start(*flags):
    """The command as a process on free ports."""
    command = [sys.executable, "-m", "stftgan_tf.serve", *flags]
    return subprocess.Popen(
        [*command, "--port=0", "--rest_api_port=0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def running_server(base):
    """The command as a process: (process, REST address, gRPC address)."""
    process = start(
        f"--model_base_path={base}",
        "--model_name=digits",
        "--file_system_poll_wait_seconds=0.1",
    )
    try:
        lines = [process.stdout.readline() for _ in range(2)]
        addresses = [re.search(r"\S+:\d+", line) for line in lines]
        assert all(addresses), process.communicate()
        grpc_address, rest_address = (match[0] for match in addresses)
        yield process, rest_address, f"grpc://{grpc_address}"
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_versions_change_under_load_without_wrong_responses(export, tmp_path):
    base = tmp_path / "models"
    shutil.copytree(export, base / "1")
    expected = next(loading.load(export).batches(0, 64, 64))["wav_bytes"]
    stop, problems, answers = threading.Event(), [], []

    def send_requests(address, seed):
        rng = np.random.default_rng(seed)
        with connect(address, "digits", retry=False) as connection:
            while not stop.is_set():
                seeds = rng.choice(64, rng.integers(1, 5))
                try:
                    result = connection.sample(seeds, outputs=["wav_bytes"])
                except ServerError as error:
                    problems.append(str(error))
                    return
                if list(result["wav_bytes"]) != list(expected[seeds]):
                    problems.append(f"wrong answer for {seeds}")
                answers.append(len(seeds))

    with running_server(base) as (process, rest, grpc):
        threads = [
            threading.Thread(target=send_requests, args=(address, i))
            for i, address in enumerate([rest, grpc, rest, grpc])
        ]
        for thread in threads:
            thread.start()
        staging = base / ".incomplete"
        for version in (2, 3, 4):
            shutil.copytree(export, staging)
            if version == 3:
                (staging / "saved_model.pb").write_bytes(b"damaged")
            staging.rename(base / str(version))
            outcome = "failed to load" if version == 3 else "is available"
            for line in process.stderr:
                if f"version {version} {outcome}" in line:
                    break
        stop.set()
        for thread in threads:
            thread.join()
        assert problems == [] and len(answers) > 20
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in log and "version 4 is unloaded" in log


def test_the_server_listens_on_localhost_until_ctrl_c(half_plus_two):
    with running_server(half_plus_two) as (process, rest, grpc):
        assert rest.startswith("http://127.0.0.1:")
        assert grpc.startswith("grpc://127.0.0.1:")
        assert process.stdout.readline() == f"listen at {rest}/\n"
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in log and "version 123 is unloaded" in log


def test_the_server_ends_while_a_version_hangs(half_plus_two, tmp_path):
    version = shutil.copytree(half_plus_two / "123", tmp_path / "1")
    pipe = version / "variables" / "variables.data-00000-of-00001"
    pipe.unlink()
    os.mkfifo(pipe)
    config = f'config {{ name: "half" base_path: "{tmp_path}" }}'
    path = tmp_path / "models.config"
    path.write_text(f"model_config_list {{ {config} }}")
    process = start(f"--model_config_file={path}", "--enable_batching")
    try:
        writer = None
        while writer is None and process.poll() is None:
            # Fails until the server reads.
            with contextlib.suppress(OSError):
                writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            time.sleep(0.05)
        start_secs = time.monotonic()
        process.send_signal(signal.SIGTERM)
        output, log = process.communicate(timeout=60)
        secs = time.monotonic() - start_secs
        os.close(writer)
    finally:
        process.kill()
    assert (process.returncode, output) == (0, "")
    assert "--enable_batching has no effect here" in log
    assert "Traceback" not in log
    assert secs < 8


@pytest.mark.parametrize(
    ("flag", "other"), [("port", "rest_api_port"), ("rest_api_port", "port")]
)
def test_a_port_in_use_is_reported(half_plus_two, flag, other, capsys):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        args = [f"--model_base_path={half_plus_two}", f"--{other}=0"]
        assert serve.main([*args, f"--{flag}={port}"]) == 1
    error = capsys.readouterr().err
    assert f"error: cannot listen on 127.0.0.1:{port}" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--model_base_path=nowhere"], 1, "nowhere is not a directory"),
        (["--max_batch_size=0"], 2, "--max_batch_size is 0"),
        (["--port=99999"], 2, "--port is 99999; expected -1 to 65535"),
        (["--port=-1", "--rest_api_port=-1"], 2, "are both -1"),
        (["--max_waiting=-1"], 2, "--max_waiting is -1; expected at least 0"),
        (["--rest_api_timeout_in_ms=-1"], 2, "rest_api_timeout_in_ms is -1"),
        (["--file_system_poll_wait_seconds=nan"], 2, "wait_seconds is nan"),
        (["--file_system_poll_wait_seconds=inf"], 2, "wait_seconds is inf"),
        (["--file_system_poll_wait_seconds=1e300"], 2, "is 1e+300; expected"),
        (["--model_config_file_poll_wait_seconds=nan"], 2, "seconds is nan"),
        (["--grpc_socket_path=nowhere/x", "--port=-1"], 1, "cannot listen on"),
        (["--ssl_config_file=x"], 2, "--ssl_config_file is not supported"),
        (["--model_name= "], 2, "the model name is ' '"),
    ],
)
def test_invalid_flags_are_rejected(
    half_plus_two, flags, code, message, capsys
):
    assert serve.main([f"--model_base_path={half_plus_two}", *flags]) == code
    assert message in capsys.readouterr().err


def test_several_models_are_served_by_their_names(export, half_plus_two):
    from stftgan_tf.serving.model_config import ModelConfig
    from stftgan_tf.serving.options import ServerOptions
    from stftgan_tf.serving.server import Server

    models = {"digits": ModelConfig(export), "half": ModelConfig(half_plus_two)}
    server = Server(ServerOptions(models, port=0, rest_api_port=0))
    try:
        url = f"http://127.0.0.1:{server.rest_api_port}/v1/models"
        # An export that is not in a directory of versions is version 1.
        status = requests.get(f"{url}/digits/versions/1").json()
        assert status["model_version_status"][0]["state"] == "AVAILABLE"
        body = '{"instances": [4]}'
        digits = requests.post(f"{url}/digits:predict", body).json()
        assert "wav_bytes" in digits["predictions"][0]
        half = requests.post(f"{url}/half:predict", body).json()
        assert half == {"predictions": [4.0]}
        assert requests.post(f"{url}/third:predict", body).status_code == 404
        metrics = requests.get(
            f"http://127.0.0.1:{server.rest_api_port}"
            "/monitoring/prometheus/metrics"
        ).text
        for name, status in (
            ("digits", "OK"),
            ("half", "OK"),
            ("unknown", "NOT_FOUND"),
        ):
            labels = f'model_name="{name}",status="{status}"'
            assert f"request_count{{{labels}}} 1.0" in metrics
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            request = health_pb2.HealthCheckRequest()
            assert stub.Check(request, timeout=10).status == 1
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model=a/x", "--model=b/x"], "a/x and b/x have the same name"),
        (["--model=x", "--model_name=y"], "--model_name requires"),
        (["--model_base_path=x", "--model_name="], "the model name is ''"),
        (["--model=x", "--model_base_path=y"], "use one of them"),
        (["--model=x", "--model_config_file=y"], "use one of them"),
        (["--model_base_path=", "--model_name=x"], "the path is empty"),
        (["--model="], "the path is empty"),
        (["--model_config_file="], "the path is empty"),
        ([], "there is nothing to serve; expected --model"),
    ],
)
def test_names_of_models_must_be_usable(flags, message, capsys):
    try:
        code = serve.main(flags)
    except SystemExit as error:
        code = error.code
    assert code == 2
    assert message in capsys.readouterr().err


def test_config_files_match_the_export_and_the_flags(export):
    """Checks serving/ with the message types of TensorFlow Serving."""
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    directory = ROOT / "serving"
    batching = (directory / "batching_parameters.txt").read_text()
    assert batching == (export / "batching_parameters.txt").read_text()
    models = text_format.Parse(
        (directory / "models.config").read_text(),
        model_server_config_pb2.ModelServerConfig(),
    )
    (model,) = models.model_config_list.config
    assert model.model_platform == "tensorflow"
    compose = yaml.safe_load((directory / "compose.yaml").read_text())
    (service,) = compose["services"].values()
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    for flag in service["command"]:
        _, _, name = flag.partition("_file=/serving/")
        assert not name or (directory / name).is_file(), flag
