import http.server
import threading

import numpy as np
import pytest
import requests
import tensorflow as tf

from stftgan_tf.errors import UserError
from stftgan_tf.saved_model import loading
from stftgan_tf.serving import client_base
from stftgan_tf.serving.client import connect
from stftgan_tf.serving.client_base import ServerError
from tests.conftest import serve
from tests.stftgan_tf.conftest import free_port

pytest.importorskip("tensorflow_serving")

from stftgan_tf.serving.model import ModelVersion  # noqa: E402

NUMBERS = {"x": np.float32([2, 4])}


class Sums(tf.Module):
    """Two outputs, because a REST response does not name a single one."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def call(self, x):
        return {"half": x / 2, "double": x * 2}


@pytest.fixture(scope="module")
def small_base(tmp_path_factory):
    """The versions of a model that loads quickly."""
    base = tmp_path_factory.mktemp("small")
    module = Sums()
    signatures = {"serving_default": module.call}
    tf.saved_model.save(module, str(base / "1"), signatures)
    return base


@pytest.fixture(scope="module")
def inputs_and_outputs(model):
    """Inputs of signatures, and the outputs of the export in process."""
    latent = np.random.default_rng(0).standard_normal((2, 8)).astype("f4")
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
        "generate": {"latent": latent},
        "long": {"seed": np.array([1, 2])},
    }
    return {
        name: (arrays, model.call(name, arrays))
        for name, arrays in inputs.items()
    }


def test_every_signature_equals_the_export_in_process(
    address, inputs_and_outputs
):
    with connect(address, "digits") as connection:
        for name, (inputs, expected) in inputs_and_outputs.items():
            outputs = connection.predict(name, inputs)
            assert outputs.keys() == expected.keys()
            for output, value in expected.items():
                np.testing.assert_array_equal(outputs[output], value)


def test_input_names_come_from_the_server(address):
    with connect(address, "digits") as connection:
        names = connection.input_names("interpolate")
        assert names == {"seed_a", "seed_b", "weight"}
        with pytest.raises(ServerError, match="has no signature 'x'"):
            connection.input_names("x")


def test_errors_keep_their_status_code(address):
    seed = {"seed": np.array([1])}
    with connect(address, "digits") as connection:
        with pytest.raises(ServerError) as error:
            connection.predict("serving_default", {"speed": np.array([1])})
        assert error.value.code == "INVALID_ARGUMENT"
        assert connection.predict("serving_default", seed)
    with (
        connect(address, "words") as connection,
        pytest.raises(ServerError, match=r"Latest\(words\)") as error,
    ):
        connection.predict("serving_default", seed)
    assert error.value.code == "NOT_FOUND"
    with (
        connect(address, "digits", model_version=9) as connection,
        pytest.raises(ServerError, match=r"Specific\(digits, 9\)"),
    ):
        connection.predict("serving_default", seed)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_call_waits_for_a_server_that_starts(scheme, small_base):
    port, servers = free_port(), []
    flag = {"http": "rest_api_port", "grpc": "port"}[scheme]

    def start():
        servers.append(serve(small_base, **{flag: port}))

    timer = threading.Timer(0.5, start)
    timer.start()
    try:
        with connect(f"{scheme}://127.0.0.1:{port}") as connection:
            outputs = connection.predict("serving_default", NUMBERS)
    finally:
        timer.join()
        servers[0].stop()
    assert outputs["double"].tolist() == [4, 8]


def test_a_name_may_contain_a_slash_and_a_colon(small_base):
    name = "team/small:1"
    server = serve(small_base, model_name=name)
    try:
        for scheme, port in (
            ("http", server.rest_api_port),
            ("grpc", server.port),
        ):
            with connect(f"{scheme}://127.0.0.1:{port}", name) as connection:
                outputs = connection.predict("serving_default", NUMBERS)
            assert outputs["double"].tolist() == [4, 8]
        page = f"http://127.0.0.1:{server.rest_api_port}/page/models"
        response = requests.get(f"{page}/team%2Fsmall%3A1")
        assert response.json()["version"] == 1
    finally:
        server.stop()


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_excess_clients_receive_unavailable_and_retry(
    scheme, small_base, monkeypatch
):
    started, finish = threading.Event(), threading.Event()
    run = ModelVersion.run

    def slow_run(*args, **kwargs):
        started.set()
        assert finish.wait(60)
        return run(*args, **kwargs)

    server = serve(small_base, max_running=1, max_waiting=0)
    port = server.rest_api_port if scheme == "http" else server.port
    address, results = f"{scheme}://127.0.0.1:{port}", []

    def predict():
        with connect(address) as connection:
            outputs = connection.predict("serving_default", NUMBERS)
            results.append(outputs["double"].tolist())

    monkeypatch.setattr(ModelVersion, "run", slow_run)
    threads = [threading.Thread(target=predict) for _ in range(2)]
    try:
        threads[0].start()
        assert started.wait(60)
        excess = connect(address, retry=False)
        with excess, pytest.raises(ServerError) as error:
            excess.predict("serving_default", NUMBERS)
        assert error.value.code == "UNAVAILABLE"
        threads[1].start()
    finally:
        finish.set()
        for thread in threads:
            thread.join(60)
        server.stop()
    assert results == [[4, 8], [4, 8]]


@pytest.mark.parametrize("status", [502, 503])
def test_a_call_is_repeated_when_a_gateway_has_no_server(status):
    paths = []

    class Gateway(http.server.BaseHTTPRequestHandler):
        def do_POST(self):  # noqa: N802
            self.rfile.read(int(self.headers["Content-Length"]))
            body = b'{"outputs": {"audio": [1.5]}}' if paths else b"<html>"
            self.send_response(200 if paths else status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            paths.append(self.path)

    with http.server.HTTPServer(("127.0.0.1", 0), Gateway) as gateway:
        threading.Thread(target=gateway.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{gateway.server_port}"
        with connect(address, "digits") as connection:
            inputs = {"seed": np.array([1])}
            outputs = connection.predict("serving_default", inputs)
        gateway.shutdown()
    assert outputs["audio"] == [1.5] and len(paths) == 2


def test_pauses_grow_up_to_a_limit(monkeypatch):
    pauses, timeouts = [], []
    monkeypatch.setattr(client_base.time, "sleep", pauses.append)

    def call(timeout):
        timeouts.append(timeout)
        if len(timeouts) < 8:
            raise ServerError("UNAVAILABLE", "later")
        return "result"

    assert client_base.call_until_available(call, 60.0) == "result"
    for pause, longest in zip(
        pauses, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0], strict=True
    ):
        assert longest / 2 <= pause <= longest


def test_an_invalid_request_is_not_repeated():
    timeouts = []

    def call(timeout):
        timeouts.append(timeout)
        raise ServerError("INVALID_ARGUMENT", "never")

    with pytest.raises(UserError, match="INVALID"):
        client_base.call_until_available(call, 60.0)
    assert len(timeouts) == 1


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_all_inputs_are_sent_because_rest_requires_them(labelled, protocol):
    # TensorFlow Serving fills in defaults over gRPC only.
    server = serve(labelled.path, model_name="digits")
    ports = {"http": server.rest_api_port, "grpc": server.port}
    address = f"{protocol}://127.0.0.1:{ports[protocol]}"
    sent, definitions = {}, loading.signature_defs(labelled.path)
    try:
        with connect(address, "digits") as client:
            predict = client.predict

            def spy(signature, inputs, outputs=()):
                sent[signature] = set(inputs)
                return predict(signature, inputs, outputs)

            client.predict = spy
            audio = client.sample([5, 6])["audio"]
            client.sample([5], truncation=0.5)
            client.sample([5], long=True)
    finally:
        server.stop()
    np.testing.assert_array_equal(audio, labelled.sample(2, seed=5))
    assert sent.keys() == {"serving_default", "sample", "long"}
    for signature, names in sent.items():
        assert names == set(definitions[signature].inputs)
