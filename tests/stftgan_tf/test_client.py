import http.server
import os
import shutil
import socket
import subprocess
import threading
import time

import numpy as np
import pytest

from stftgan_tf import client, sample
from stftgan_tf.errors import UserError
from stftgan_tf.saved_model import loading as exported
from tests.conftest import serve

pytest.importorskip("tensorflow_serving")

from stftgan_tf.serving.servable import Servable  # noqa: E402

REAL = os.environ.get("TF_MODEL_SERVER") or shutil.which(
    "tensorflow_model_server"
)


@pytest.fixture(scope="module")
def base(export, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(export, folder / "1")
    return folder


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture(scope="module", params=["ours", "TensorFlow Serving"])
def ports(request, base):
    """(REST, gRPC) of a server of the shared export as `digits`."""
    if request.param == "ours":
        server = serve(base, "--model_name=digits")
        yield server.rest_api_port, server.port
        server.stop()
        return
    if not REAL:
        pytest.skip("no tensorflow_model_server on PATH or TF_MODEL_SERVER")
    found = free_port(), free_port()
    job = subprocess.Popen(
        [
            REAL,
            "--model_name=digits",
            f"--model_base_path={base}",
            f"--rest_api_port={found[0]}",
            f"--port={found[1]}",
        ]
    )
    yield found
    job.terminate()
    job.wait()


def addresses(ports):
    return f"http://127.0.0.1:{ports[0]}", f"grpc://127.0.0.1:{ports[1]}"


@pytest.mark.parametrize("protocol", [0, 1])
def test_the_files_that_sample_makes(ports, protocol, export, tmp_path, capsys):
    args = ["--model", str(export), "--num=5", "--seed=3"]
    assert sample.main([*args, "--output", str(tmp_path / "made")]) == 0
    args = ["--server", addresses(ports)[protocol], "--model_name=digits"]
    args += ["--num=5", "--seed=3", "--batch=2"]
    assert client.main([*args, "--output", str(tmp_path / "served")]) == 0
    files = sorted(path.name for path in (tmp_path / "served").iterdir())
    assert files == [f"seed-00000{seed}.wav" for seed in range(3, 8)]
    for name in files:
        ours = (tmp_path / "served" / name).read_bytes()
        assert ours == (tmp_path / "made" / name).read_bytes()
    assert files[0] in capsys.readouterr().out


def test_samples_of_one_seed_do_not_write_over_each_other(ports, tmp_path):
    args = ["--server", addresses(ports)[0], "--model_name=digits", "--num=1"]
    args += ["--output", str(tmp_path)]
    for more in ([], ["--truncation=0.5"], ["--long"]):
        assert client.main([*args, *more]) == 0
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "long-seed-000000.wav",
        "truncation-0.5-seed-000000.wav",
        "seed-000000.wav",
    ]


@pytest.mark.parametrize("protocol", [0, 1])
def test_every_signature(ports, protocol, export):
    local = exported.load(export)
    rng = np.random.default_rng(0)
    inputs = {
        "sample": {
            "seed": np.array([1, 2]),
            "truncation": np.float32([1, 0.5]),
        },
        "interpolate": {
            "seed_a": np.array([1, 2]),
            "seed_b": np.array([3, 4]),
            "weight": np.float32([0.25, 1]),
        },
        "generate": {"latent": rng.standard_normal((2, 8)).astype("f4")},
        "long": {"seed": np.array([1, 2])},
    }
    with client.connect(addresses(ports)[protocol], "digits") as connected:
        for name, given in inputs.items():
            wanted = local.signatures[name](**given)
            found = connected.predict(name, given)
            assert found.keys() == wanted.keys()
            for output, value in wanted.items():
                np.testing.assert_array_equal(found[output], value.numpy())


@pytest.mark.parametrize("protocol", [0, 1])
def test_refusals_keep_their_code(ports, protocol):
    address = addresses(ports)[protocol]
    with client.connect(address, "digits") as connected:
        with pytest.raises(client.ServerError) as caught:
            connected.predict("serving_default", {"speed": np.array([1])})
        assert caught.value.code == "INVALID_ARGUMENT"
        assert connected.predict("serving_default", {"seed": np.array([1])})
    with (
        client.connect(address, "words") as connected,
        pytest.raises(client.ServerError, match=r"Latest\(words\)") as caught,
    ):
        connected.predict("serving_default", {"seed": np.array([1])})
    assert caught.value.code == "NOT_FOUND"
    with (
        client.connect(address, "digits", version=9) as connected,
        pytest.raises(client.ServerError, match=r"Specific\(digits, 9\)"),
    ):
        connected.predict("serving_default", {"seed": np.array([1])})


@pytest.mark.parametrize("protocol", ["rest_api_port", "port"])
def test_a_server_that_comes_up_is_waited_for(base, protocol):
    port, servers = free_port(), []
    scheme = "http" if protocol == "rest_api_port" else "grpc"

    def start():
        flags = [f"--{protocol}={port}", "--model_name=digits"]
        servers.append(serve(base, *flags))

    starting = threading.Timer(1.0, start)
    starting.start()
    try:
        address = f"{scheme}://127.0.0.1:{port}"
        with client.connect(address, "digits") as connected:
            seed = {"seed": np.array([1])}
            assert connected.predict("serving_default", seed)["audio"].size
    finally:
        starting.join()
        servers[0].stop()


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_who_is_too_much_is_told_and_comes_back(base, scheme, monkeypatch):
    entered, go, run = threading.Event(), threading.Event(), Servable.run

    def slow(*args, **kwargs):
        entered.set()
        assert go.wait(60)
        return run(*args, **kwargs)

    flags = ["--model_name=digits", "--max_running=1", "--max_waiting=0"]
    server = serve(base, *flags)
    port = {"http": server.rest_api_port, "grpc": server.port}[scheme]
    address, inputs = f"{scheme}://127.0.0.1:{port}", {"seed": np.array([3])}
    made = []

    def ask():
        with client.connect(address, "digits") as connected:
            made.append(connected.predict("serving_default", inputs)["audio"])

    monkeypatch.setattr(Servable, "run", slow)
    jobs = [threading.Thread(target=ask) for _ in range(2)]
    try:
        jobs[0].start()
        assert entered.wait(60)
        refusing = client.connect(address, "digits", deadline_secs=0.3)
        with refusing, pytest.raises(client.ServerError) as caught:
            refusing.predict("serving_default", inputs)
        assert caught.value.code == "UNAVAILABLE"
        jobs[1].start()
        go.set()
    finally:
        go.set()
        for job in jobs:
            job.join(60)
        server.stop()
    np.testing.assert_array_equal(*made)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_deadline_ends_the_waiting(scheme, tmp_path, capsys):
    address = f"{scheme}://127.0.0.1:{free_port()}"
    start = time.monotonic()
    args = ["--server", address, "--deadline_secs=1.5"]
    assert client.main([*args, "--output", str(tmp_path / "x")]) == 1
    assert 0.5 < time.monotonic() - start < 5
    error = capsys.readouterr().err
    assert error.startswith("error: UNAVAILABLE: ") and error.count("\n") == 1


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b'{"outputs": 3}', b'{"outputs": {"a": [1]}}']
)
def test_something_else_that_listens_is_told_of(tmp_path, capsys, body):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + body)
            connection.close()

        threading.Thread(target=answer, daemon=True).start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        args = ["--server", address, "--output", str(tmp_path / "x")]
        assert client.main(args) == 1
    assert "error: UNKNOWN: " in capsys.readouterr().err


@pytest.mark.parametrize("status", [502, 503])
def test_a_gateway_without_a_server_is_asked_again(status):
    asked = []

    class Gateway(http.server.BaseHTTPRequestHandler):
        def do_POST(self):  # noqa: N802
            self.rfile.read(int(self.headers["Content-Length"]))
            body = b'{"outputs": {"audio": [1.5]}}' if asked else b"<html>"
            self.send_response(200 if asked else status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            asked.append(self.path)

    with http.server.HTTPServer(("127.0.0.1", 0), Gateway) as gateway:
        threading.Thread(target=gateway.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{gateway.server_port}"
        with client.connect(address, "digits") as connected:
            made = connected.predict("serving_default", {"seed": np.array([1])})
        gateway.shutdown()
    assert made["audio"] == [1.5] and len(asked) == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--server=127.0.0.1:8500"], "expected http://HOST:PORT or grpc://"),
        (["--server=http://[::1:8501"], "server 'http://[::1:8501'"),
        (["--deadline_secs=inf"], "--deadline_secs is inf; expected above 0"),
        ([f"--label={2**63}"], f"--label is {2**63}; expected -1 to"),
        ([f"--model_version={2**63}"], f"--model_version is {2**63}; expected"),
        (["--num=0"], "--num is 0; expected at least 1"),
        (["--seed=-1"], "--seed is -1"),
        (["--truncation=0"], "--truncation is 0.0; expected above 0"),
        (["--truncation=0.5", "--long"], "not with --long"),
    ],
)
def test_bad_usage(flags, message, capsys):
    assert client.main(flags) == 2
    assert message in capsys.readouterr().err


def test_a_pause_grows_and_stays_below_the_deadline(monkeypatch):
    pauses, calls = [], []
    monkeypatch.setattr(client.time, "sleep", pauses.append)

    def call(timeout):
        calls.append(timeout)
        if len(calls) < 8:
            raise client.ServerError("UNAVAILABLE", "later")
        return "done"

    assert client._retried(call, 60.0) == "done"
    for pause, longest in zip(
        pauses, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0], strict=True
    ):
        assert longest / 2 <= pause <= longest
    with pytest.raises(UserError, match="INVALID"):
        client._retried(refuse, 60.0)


def refuse(timeout):
    raise client.ServerError("INVALID_ARGUMENT", "never")


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit) as ended:
        client.main(["--help"])
    assert ended.value.code == 0
    assert client.EXAMPLE in capsys.readouterr().out
