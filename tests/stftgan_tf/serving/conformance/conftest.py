"""Both servers of the conformance suite, each started once."""

import pytest

from tests.stftgan_tf.conftest import TF_MODEL_SERVER

grpc = pytest.importorskip("grpc")
pytest.importorskip("tensorflow_serving")

from tests.stftgan_tf.serving.conformance import cases, servers  # noqa: E402


@pytest.fixture(scope="session")
def config(tmp_path_factory):
    return servers.save_models(tmp_path_factory.mktemp("conformance"))


@pytest.fixture(
    scope="session",
    params=[
        cases.OURS,
        pytest.param(
            cases.REAL,
            marks=pytest.mark.skipif(
                not TF_MODEL_SERVER,
                reason="no tensorflow_model_server on PATH or TF_MODEL_SERVER",
            ),
        ),
    ],
)
def server(request, config):
    """Name, REST port and gRPC port of a server."""
    start = servers.ours
    if request.param == cases.REAL:
        start = servers.tensorflow_serving
    with start(config) as ports:
        yield request.param, *ports


@pytest.fixture(scope="session")
def channel(server):
    """A channel to its gRPC port."""
    with grpc.insecure_channel(f"127.0.0.1:{server[2]}") as channel:
        yield channel
