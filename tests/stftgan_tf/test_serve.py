import contextlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest
import yaml

from stftgan_tf import client, serve
from stftgan_tf.saved_model import loading as exported
from tests.conftest import ROOT, run_command

pytest.importorskip("tensorflow_serving")

from stftgan_tf.serving import servable  # noqa: E402


@contextlib.contextmanager
def running(base, *more):
    """The command in a process: (process, REST address, gRPC address)."""
    flags = ["--port=0", "--rest_api_port=0", "--model_name=digits", *more]
    flags += ["--file_system_poll_wait_seconds=0.1"]
    job = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "stftgan_tf.serve",
            f"--model_base_path={base}",
            *flags,
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        lines = [job.stdout.readline() for _ in range(2)]
        found = [re.search(r"\S+:\d+", line) for line in lines]
        assert all(found), job.communicate()
        rpc, rest = (match[0] for match in found)
        yield job, rest, f"grpc://{rpc}"
    finally:
        job.kill()
        job.communicate()


@pytest.fixture
def base(export, tmp_path):
    shutil.copytree(export, tmp_path / "models" / "1")
    return tmp_path / "models"


def test_a_limit_below_the_warm_up_s_batches_still_serves(export):
    loaded = servable.Servable(export, 1, 8)
    made = loaded.run("serving_default", {"seed": np.arange(8)})
    assert len(made["audio"]) == 8
    with pytest.raises(servable.Refusal, match="9 rows; expected 1 to 8"):
        loaded.run("serving_default", {"seed": np.arange(9)})
    loaded.close()


def test_versions_are_swapped_under_load_and_no_answer_is_wrong(base, export):
    seeds = np.arange(64)
    wanted = next(exported.load(export).batches(0, 64, 64))["wav_bytes"]
    stop, problems, answers = threading.Event(), [], []

    def load(address, first):
        rng = np.random.default_rng(first)
        with client.connect(address, "digits") as connected:
            while not stop.is_set():
                chosen = rng.choice(seeds, rng.integers(1, 5))
                try:
                    made = connected._predict(
                        "serving_default", {"seed": chosen}, ["wav_bytes"], 60
                    )["wav_bytes"]
                except client.ServerError as error:
                    problems.append(str(error))
                    return
                if list(made) != list(wanted[chosen]):
                    problems.append(f"wrong answer for {chosen}")
                answers.append(len(chosen))

    with running(base) as (job, rest, rpc):
        loads = [
            threading.Thread(target=load, args=(address, i))
            for i, address in enumerate([rest, rpc, rest, rpc])
        ]
        for one in loads:
            one.start()
        staging = base / ".incomplete"
        for version in (2, 3, 4):
            shutil.copytree(export, staging)
            if version == 3:
                (staging / "saved_model.pb").write_bytes(b"damaged")
            staging.rename(base / str(version))
            told = f"version {version} {'does' if version == 3 else 'serves'}"
            for line in job.stderr:
                if told in line:
                    break
        stop.set()
        for one in loads:
            one.join()
        assert problems == [] and len(answers) > 20
        job.send_signal(signal.SIGTERM)
        _, error = job.communicate(timeout=60)
    assert job.returncode == 0
    assert "Traceback" not in error and "version 4 is unloaded" in error


def test_it_listens_to_this_machine_only_and_ctrl_c_ends_it(base):
    with running(base) as (job, rest, rpc):
        assert rest.startswith("http://127.0.0.1:")
        assert rpc.startswith("grpc://127.0.0.1:")
        job.send_signal(signal.SIGINT)
        _, error = job.communicate(timeout=60)
    assert job.returncode == 130
    assert "Traceback" not in error and "version 1 is unloaded" in error


@pytest.mark.parametrize("name", ["port", "rest_api_port"])
def test_a_port_that_is_taken(base, name):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        other = {"port": "rest_api_port", "rest_api_port": "port"}[name]
        done = run_command(
            "stftgan_tf.serve",
            f"--model_base_path={base}",
            f"--{name}={port}",
            f"--{other}=-1",
        )
    assert done.returncode == 1
    errors = [e for e in done.stderr.splitlines() if e.startswith("error: ")]
    assert len(errors) == 1 and f"127.0.0.1:{port} cannot be" in errors[0]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--model_base_path=nowhere"], 1, "nowhere is no folder"),
        (["--max_batch_size=0"], 2, "--max_batch_size is 0"),
        (["--port=99999"], 2, "--port is 99999; expected -1 to 65535"),
        (["--port=-1", "--rest_api_port=-1"], 2, "neither --port nor"),
        (["--max_waiting=-1"], 2, "cannot be negative"),
    ],
)
def test_bad_usage(base, flags, code, message, capsys):
    assert serve.main([f"--model_base_path={base}", *flags]) == code
    assert message in capsys.readouterr().err


def test_an_export_in_place_of_its_folder_is_told_of(export, capsys):
    assert serve.main([f"--model_base_path={export}"]) == 1
    error = capsys.readouterr().err
    assert f"export with --output {export}/1" in error


def test_help_shows_an_example():
    done = run_command("stftgan_tf.serve", "--help")
    assert done.returncode == 0 and serve.EXAMPLE in done.stdout


def test_what_lies_in_serving_is_what_the_server_reads(export):
    """Parsed by the server's own messages where they can be had."""
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    folder = ROOT / "serving"
    batching = (folder / "batching_parameters.txt").read_text()
    assert batching == (export / "batching_parameters.txt").read_text()
    models = text_format.Parse(
        (folder / "models.config").read_text(),
        model_server_config_pb2.ModelServerConfig(),
    )
    (model,) = models.model_config_list.config
    assert model.model_platform == "tensorflow"
    compose = yaml.safe_load((folder / "compose.yaml").read_text())
    (service,) = compose["services"].values()
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    for flag in service["command"]:
        _, _, name = flag.partition("_file=/serving/")
        assert not name or (folder / name).is_file(), flag


def test_warm_up_requests_of_each_batch_size(export):
    found = {}
    for request in servable.warmup_requests(export):
        name = request.model_spec.signature_name
        rows = {p.tensor_shape.dim[0].size for p in request.inputs.values()}
        assert len(rows) == 1
        found.setdefault(name, []).append(rows.pop())
    assert found.pop("serving_default") == [1, 2, 4, 8, 16, 32]
    others = set(exported.SIGNATURES) - {"serving_default"}
    assert found == {name: [1] for name in others}
