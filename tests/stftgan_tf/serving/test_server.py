"""Several versions over both protocols, time limits, and the end."""

import contextlib
import socket
import threading
import time

import pytest
import requests
import tensorflow as tf

from tests.conftest import save_half_plus, serve

grpc = pytest.importorskip("grpc")
pytest.importorskip("tensorflow_serving")

from tensorflow_serving.apis import (  # noqa: E402
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from stftgan_tf.serving import model_config  # noqa: E402
from stftgan_tf.serving.options import ServerOptions  # noqa: E402
from stftgan_tf.serving.server import Server  # noqa: E402

CONFIG = """
model_config_list {{
  config {{
    name: "half" base_path: "{base}"
    model_version_policy {{ specific {{ versions: 1 versions: 3 }} }}
    version_labels {{ key: "stable" value: 1 }}
    version_labels {{ key: "canary" value: 3 }}
  }}
  config {{
    name: "every" base_path: "{base}" model_version_policy {{ all {{}} }}
  }}
}}
"""


class Loop(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, "n")])
    def count(self, n):
        return tf.while_loop(lambda i: i < n, lambda i: [i + 1], [0])


@pytest.fixture(scope="module")
def loop(tmp_path_factory):
    """A model that counts to n."""
    base = tmp_path_factory.mktemp("loop")
    tf.saved_model.save(Loop(), str(base / "1"))
    return base


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """A server of the models in CONFIG, and its socket."""
    directory = tmp_path_factory.mktemp("versions")
    for version in (1, 2, 3):
        save_half_plus(directory / str(version), float(version))
    file = directory / "models.config"
    file.write_text(CONFIG.format(base=directory))
    path = str(directory / "socket")
    arguments = (("grpc.max_receive_message_length", 500),)
    options = ServerOptions(
        model_config.read(file),
        port=-1,
        rest_api_port=0,
        grpc_socket_path=path,
        grpc_channel_arguments=arguments,
    )
    server = Server(options)
    yield f"http://127.0.0.1:{server.rest_api_port}/v1/models", path
    server.stop()


@pytest.fixture
def channel(versions):
    with grpc.insecure_channel(f"unix:{versions[1]}") as channel:
        yield channel


def half_of_zero(url):
    response = requests.post(f"{url}:predict", '{"instances": [0]}')
    return response.status_code, response.json()


def test_rest_chooses_versions_by_number_and_label(versions):
    url, _ = versions
    for path, output in (
        ("half", 3.0),
        ("half/versions/1", 1.0),
        ("half/labels/stable", 1.0),
        ("half/labels/canary", 3.0),
        ("every/versions/2", 2.0),
    ):
        answer = 200, {"predictions": [output]}
        assert half_of_zero(f"{url}/{path}") == answer
    status, answer = half_of_zero(f"{url}/half/versions/2")
    assert status == 404 and "Specific(half, 2)" in answer["error"]
    for name, label in (("half", "new"), ("every", "stable")):
        status, answer = half_of_zero(f"{url}/{name}/labels/{label}")
        message = f"Unrecognized servable version label: {label}"
        assert (status, answer) == (400, {"error": message})
    answer = requests.get(f"{url}/half/labels/stable").json()
    (status,) = answer["model_version_status"]
    assert (status["version"], status["state"]) == ("1", "AVAILABLE")
    answer = requests.get(f"{url}/half/labels/stable/metadata").json()
    assert answer["model_spec"]["version"] == "1"
    answer = requests.get(f"{url}/every").json()
    numbers = [s["version"] for s in answer["model_version_status"]]
    assert numbers == ["3", "2", "1"]


def test_grpc_chooses_versions_by_label(channel):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    request = predict_pb2.PredictRequest()
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([0.0]))
    request.model_spec.name = "half"
    for label, version in (("stable", 1), ("canary", 3)):
        request.model_spec.version_label = label
        response = stub.Predict(request, timeout=30)
        assert response.model_spec.version.value == version
        assert response.outputs["y"].float_val == [version]
    request.model_spec.version_label = "new"
    with pytest.raises(grpc.RpcError) as error:
        stub.Predict(request, timeout=30)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(
        metadata_field=["signature_def"]
    )
    metadata.model_spec.name = "half"
    metadata.model_spec.version_label = "stable"
    response = stub.GetModelMetadata(metadata, timeout=30)
    assert response.model_spec.version.value == 1
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.CopyFrom(metadata.model_spec)
    states = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(
        status, timeout=30
    )
    assert [s.version for s in states.model_version_status] == [1]


def test_arguments_of_the_grpc_server_replace_ours(channel):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([0.0] * 200))
    with pytest.raises(grpc.RpcError) as error:
        stub.Predict(request, timeout=30)
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_rest_request_that_runs_too_long_is_stopped(loop):
    server = serve(loop, port=-1, rest_api_timeout_in_ms=300)
    url = f"http://127.0.0.1:{server.rest_api_port}/v1/models/default:predict"
    try:
        start = time.monotonic()
        response = requests.post(url, f'{{"inputs": {2**31 - 1}}}', timeout=60)
        assert time.monotonic() - start < 20
        assert response.status_code == 504
        assert "Timed out" in response.json()["error"]
        response = requests.post(url, '{"inputs": 5}', timeout=60)
        assert response.json() == {"outputs": 5}
    finally:
        server.stop()


@contextlib.contextmanager
def half_open(port, text):
    """A connection that sends the beginning of a request only."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(text)
        yield client


def test_silent_clients_do_not_delay_the_end(loop):
    server = serve(loop, max_running=2)
    url = f"http://127.0.0.1:{server.rest_api_port}/v1/models/default:predict"
    head = b"POST /v1/models/default:predict HTTP/1.1\r\nHost: a\r\n"
    body = head + b'Content-Length: 99\r\n\r\n{"inputs":'
    never, answers = threading.Event(), []

    def wait_for_ever():
        never.wait()
        yield b""

    def count():
        response = requests.post(url, '{"inputs": 300000}', timeout=60)
        answers.append(response.json())

    with (
        half_open(server.rest_api_port, head),
        half_open(server.rest_api_port, body),
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        method = "/tensorflow.serving.PredictionService/Predict"
        stream = channel.stream_unary(method).future(wait_for_ever())
        grpc.channel_ready_future(channel).result(timeout=30)
        # The server needs a moment to notice the stream and the request.
        time.sleep(1)
        thread = threading.Thread(target=count)
        thread.start()
        time.sleep(0.5)
        start = time.monotonic()
        server.stop()
        secs = time.monotonic() - start
        thread.join()
        assert stream.code() == grpc.StatusCode.UNAVAILABLE
        never.set()
    # Without silent clients it would take as long as the running request.
    assert answers == [{"outputs": 300000}]
    assert secs < 8


def eventually(condition):
    """Waits up to 30 s until a condition is true."""
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_models_and_labels_follow_their_file(tmp_path, caplog):
    for version in (1, 2):
        save_half_plus(tmp_path / str(version), float(version))
    file = tmp_path / "models.config"
    model = f'base_path: "{tmp_path}" model_version_policy {{ all {{}} }}'

    def write(*models):
        staging = tmp_path / ".models.config"
        configs = "".join(f"config {{ {model} {m} }}" for m in models)
        staging.write_text(f"model_config_list {{ {configs} }}")
        staging.rename(file)

    label = 'version_labels {{ key: "stable" value: {} }}'.format
    write('name: "a" ' + label(1))
    options = ServerOptions(
        model_config.read(file),
        model_config_file=file,
        model_config_file_poll_wait_seconds=0.02,
        port=-1,
        rest_api_port=0,
    )
    server = Server(options)
    url = f"http://127.0.0.1:{server.rest_api_port}/v1/models"
    first = 200, {"predictions": [1.0]}
    second = 200, {"predictions": [2.0]}
    try:
        assert half_of_zero(f"{url}/a/labels/stable") == first
        write('name: "a" ' + label(2))
        eventually(lambda: half_of_zero(f"{url}/a/labels/stable") == second)
        file.write_text("model_config_list { config { nme")
        eventually(lambda: "the models stay as they are" in caplog.text)
        assert half_of_zero(f"{url}/a/labels/stable") == second
        write('name: "b" ' + label(1))
        eventually(lambda: half_of_zero(f"{url}/b/labels/stable") == first)
        assert half_of_zero(f"{url}/a")[0] == 404
        assert half_of_zero(f"{url}/b") == second
    finally:
        server.stop()
