"""Exports, servers and evaluations that several tests share."""

import os
import shutil
import socket
import subprocess

import pytest

from tests.conftest import serve

TF_MODEL_SERVER = os.environ.get("TF_MODEL_SERVER") or shutil.which(
    "tensorflow_model_server"
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture(scope="session")
def digits_server(export, tmp_path_factory):
    """A server of the shared export as model `digits`, version 1."""
    pytest.importorskip("tensorflow_serving")
    base = tmp_path_factory.mktemp("digits_server")
    (base / "1").symlink_to(export)
    server = serve(
        base,
        model_name="digits",
        # Less than the largest warm-up request, which is skipped.
        max_batch_size=16,
        max_request_bytes=100_000,
    )
    yield server
    server.stop()


@pytest.fixture(
    scope="session",
    params=[
        "this project",
        pytest.param(
            "TensorFlow Serving",
            marks=pytest.mark.skipif(
                not TF_MODEL_SERVER,
                reason="no tensorflow_model_server on PATH or TF_MODEL_SERVER",
            ),
        ),
    ],
)
def server_ports(request, export, tmp_path_factory):
    """REST and gRPC ports of a server of the shared export as `digits`."""
    if request.param == "this project":
        server = request.getfixturevalue("digits_server")
        yield server.rest_api_port, server.port
        return
    base = tmp_path_factory.mktemp("tensorflow_model_server")
    shutil.copytree(export, base / "1")
    ports = free_port(), free_port()
    process = subprocess.Popen(
        [
            TF_MODEL_SERVER,
            "--model_name=digits",
            f"--model_base_path={base}",
            f"--rest_api_port={ports[0]}",
            f"--port={ports[1]}",
        ]
    )
    yield ports
    process.terminate()
    process.wait()


@pytest.fixture(params=["http", "grpc"])
def address(request, server_ports):
    """The address of such a server, by REST and by gRPC."""
    port = server_ports[0 if request.param == "http" else 1]
    return f"{request.param}://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def evaluation(export, cached_shards, tmp_path_factory):
    """An evaluation of the shared export, compared with an earlier one."""
    from stftgan_tf import evaluate
    from stftgan_tf.evaluation import blessing

    last = tmp_path_factory.mktemp("evaluations") / "last"
    metrics = {"real": {"frechet": 1.0}, "generated": {"frechet": 1.25}}
    blessing.write(last, {**metrics, "digest": "5ha"}, [])
    output = last.with_name("digits")
    flags = [
        f"--model={export}",
        f"--data={cached_shards}",
        f"--output={output}",
    ]
    assert evaluate.main([*flags, f"--last_blessed={last}"]) == 0
    return output


@pytest.fixture(scope="session")
def loaded(export):
    """The shared export, loaded."""
    from stftgan_tf.saved_model import loading

    return loading.load(str(export))


@pytest.fixture(scope="session")
def labelled(shards, tmp_path_factory):
    """The loaded export of a model with 10 labels and random weights."""
    from stftgan_tf.saved_model import loading, writing
    from tests.stftgan_tf.training import runs

    directory = tmp_path_factory.mktemp("labelled")
    run = runs.untrained_run(shards, directory / "run", "model.condition=label")
    writing.export(run, directory / "export", secs=0.2)
    return loading.load(directory / "export")
