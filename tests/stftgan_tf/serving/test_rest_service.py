import base64
import gc
import gzip
import http.client
import json
import re
import socket

import numpy as np
import pytest
import requests

from tests.conftest import serve

pytest.importorskip("starlette")

from stftgan_tf.serving import http_protocol, request_body  # noqa: E402


@pytest.fixture(scope="module")
def half(half_plus_two):
    """The address of a server of x / 2 + 2 as model `half_plus_two`."""
    server = serve(half_plus_two, model_name="half_plus_two")
    yield f"http://127.0.0.1:{server.rest_api_port}"
    server.stop()


@pytest.fixture(scope="module")
def digits(digits_server):
    """The URL of the shared export as model `digits`."""
    port = digits_server.rest_api_port
    return f"http://127.0.0.1:{port}/v1/models/digits"


# Requests and responses from TensorFlow Serving's documentation (docker.md and
# api_rest.md) and tests (http_rest_api_handler_test.cc).
DOCUMENTED = [
    (
        ":predict",
        '{"instances": [1.0, 2.0, 5.0]}',
        {"predictions": [2.5, 3.0, 4.5]},
    ),
    (
        "/versions/123:predict",
        '{"instances": [1.0, 2.0]}',
        {"predictions": [2.5, 3.0]},
    ),
    (
        ":predict",
        '{"signature_name": "serving_default", "instances": [3.0, 4.0]}',
        {"predictions": [3.5, 4.0]},
    ),
    (
        ":predict",
        '{"signature_name": "serving_default", "inputs": [3.0, 4.0]}',
        {"outputs": [3.5, 4.0]},
    ),
    (
        ":predict",
        '{"instances": [{"x": 3.0}, {"x": 4}]}',
        {"predictions": [3.5, 4.0]},
    ),
    (":predict", '{"inputs": {"x": [3.0]}}', {"outputs": [3.5]}),
]


@pytest.mark.parametrize(("path", "body", "answer"), DOCUMENTED)
def test_documented_predictions(half, path, body, answer):
    response = requests.post(f"{half}/v1/models/half_plus_two{path}", body)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == answer


def test_documented_status(half):
    url = f"{half}/v1/models/half_plus_two"
    status = {"error_code": "OK", "error_message": ""}
    row = {"version": "123", "state": "AVAILABLE", "status": status}
    expected = {"model_version_status": [row]}
    assert requests.get(url).json() == expected
    assert requests.get(f"{url}/versions/123").json() == expected


def test_documented_metadata(half):
    url = f"{half}/v1/models/half_plus_two/metadata"
    response = requests.get(url).json()
    spec = {"name": "half_plus_two", "signature_name": "", "version": "123"}
    assert response["model_spec"] == spec
    signatures = response["metadata"]["signature_def"]["signature_def"]
    signature = signatures["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    x = signature["inputs"]["x"]
    shape = {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    assert (x["dtype"], x["tensor_shape"]) == ("DT_FLOAT", shape)


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        (
            "POST",
            "/v1/models/half:predict",
            404,
            "Servable not found for request: Latest(half)",
        ),
        (
            "POST",
            "/v1/models/half_plus_two/versions/7:predict",
            404,
            "Servable not found for request: Specific(half_plus_two, 7)",
        ),
        (
            "GET",
            "/v1/models/half",
            404,
            "Could not find any versions of model half",
        ),
        (
            "GET",
            "/v1/models/half_plus_two/versions/7",
            404,
            "Could not find version 7 of model half_plus_two",
        ),
        (
            "GET",
            "/v1/models/half/metadata",
            404,
            "Servable not found for request: Latest(half)",
        ),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        (
            "GET",
            "/v1/models/half_plus_two:predict",
            400,
            "Malformed request: GET /v1/models/half_plus_two:predict",
        ),
        (
            "PUT",
            "/v1/models/half_plus_two:predict",
            400,
            "Malformed request: PUT /v1/models/half_plus_two:predict",
        ),
        (
            "GET",
            "/v1/models/half_plus_two/versions/" + 5000 * "9",
            400,
            f"Failed to convert version: {30 * '9'} to numeric.",
        ),
        (
            "POST",
            "/v1/models/half_plus_two:classify",
            501,
            "classify is not supported; expected predict",
        ),
        ("GET", "/favicon.ico", 404, "no such path: /favicon.ico"),
    ],
)
def test_documented_errors(half, method, path, status, message):
    response = requests.request(method, half + path, data='{"instances": [1]}')
    assert response.status_code == status
    assert response.json() == {"error": message}


def predict(url, **body):
    return requests.post(f"{url}:predict", json=body)


def test_rows_and_columns_contain_the_samples_of_the_export(digits, model):
    expected = next(model.batches(5, 2, 2))
    rows = predict(digits, instances=[{"seed": 5}, {"seed": 6}]).json()
    columns = predict(digits, inputs={"seed": [5, 6]}).json()["outputs"]
    for i, row in enumerate(rows["predictions"]):
        assert row.keys() == columns.keys() == {"audio", "window", "wav_bytes"}
        np.testing.assert_array_equal(
            np.float32(row["audio"]), expected["audio"][i]
        )
        np.testing.assert_array_equal(
            np.float32(columns["window"][i]), expected["window"][i]
        )
        for wav in (row["wav_bytes"], columns["wav_bytes"][i]):
            assert base64.b64decode(wav["b64"]) == expected["wav_bytes"][i]


def test_a_single_input_needs_no_name_and_truncation_is_optional(digits):
    rows = [{"seed": 5}, {"seed": 6}]
    plain = predict(digits, instances=[5, 6]).json()
    assert plain == predict(digits, instances=rows).json()
    sample = {"signature_name": "sample"}
    assert predict(digits, **sample, instances=rows).json() == plain
    rows = [{"seed": 5, "truncation": 1}, {"seed": 6, "truncation": 0.5}]
    response = predict(digits, **sample, instances=rows).json()
    assert response["predictions"][0] == plain["predictions"][0]
    assert response["predictions"][1] != plain["predictions"][1]


def with_signature(signature_name, **body):
    return json.dumps({"signature_name": signature_name, **body})


UNEVEN = {"seed_a": [1, 2, 3], "seed_b": [1, 2], "weight": [0.5]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "JSON Parse error: The document is empty"),
        ("{", "JSON Parse error: unexpected end of data at offset: 1"),
        ("[" * 100000, "JSON Parse error"),
        ("[1]", "JSON Value: [1] Is not object"),
        ("{}", "Missing 'inputs' or 'instances' key"),
        ('{"instances": [1], "inputs": [1]}', "expecting only one of"),
        ('{"instances": 1}', "Expecting 'instances' to be an list/array"),
        ('{"instances": []}', "No values in 'instances' array"),
        ('{"inputs": {"seed": []}}', "input seed has 0 rows; expected 1 to 16"),
        (
            json.dumps({"instances": [1] * 17}),
            "'instances' has 17 rows; expected at most 16",
        ),
        (
            json.dumps({"inputs": [1] * 17}),
            "input seed has 17 rows; expected 1 to 16",
        ),
        (
            '{"instances": ["a"]}',
            '"a" Type: String is not of expected type: int64',
        ),
        (
            '{"instances": [1.0]}',
            "1.0 Type: Number is not of expected type: int64",
        ),
        ('{"instances": [true]}', "Type: Bool is not of expected type: int64"),
        ('{"instances": [null]}', "Type: Null is not of expected type: int64"),
        (
            '{"instances": [9223372036854775808]}',
            "is not of expected type: int64",
        ),
        ('{"instances": [[1], [1, 2]]}', "Expecting tensor size: 1 but got: 2"),
        ('{"instances": [[1], 2]}', "2 is not a list of 1 values"),
        (
            '{"instances": [[1], [2]]}',
            "input seed has shape [2, 1]; expected [-1]",
        ),
        ('{"instances": [{"seeds": 1}]}', "does not have named input: seeds"),
        ('{"instances": [{"seed": 1}, {}]}', "keys must be equal to: seed"),
        (
            '{"instances": [{"seed": 1}, 2]}',
            "Expecting object but got list at item 1",
        ),
        (
            '{"inputs": {"sed": [1]}}',
            "Missing named input: seed in 'inputs' object.",
        ),
        ('{"inputs": {}}', "Missing named input: seed in 'inputs' object."),
        ('{"inputs": 5}', "input seed has shape []; expected [-1]"),
        (
            with_signature("x", instances=[1]),
            'signature name: "x" not found in signature def',
        ),
        (
            with_signature(1, instances=[1]),
            "'signature_name' key must be a string value.",
        ),
        (
            with_signature("generate", instances=[[1, 2]]),
            "input latent has shape [1, 2]; expected [-1, 8]",
        ),
        (
            with_signature("generate", instances=[[1, "a"] * 4]),
            'JSON Value: "a"',
        ),
        (
            with_signature("generate", instances=[[float("nan")] * 8]),
            "latent must be -1000 to 1000",
        ),
        (
            with_signature("interpolate", instances=[1]),
            "expecting objects as multiple input tensors",
        ),
        (
            with_signature("interpolate", inputs=UNEVEN),
            "Incompatible shapes: [3",
        ),
        (r'{"signature_name": "\ud800", "instances": [1]}', "JSON Parse error"),
        (r'{"inputs": {"\ud800": [NaN]}}', "JSON Parse error"),
        (
            '{"instances": ' + "[" * 40 + "1" + "]" * 40 + "}",
            "lists are nested more than 32 deep",
        ),
    ],
)
def test_an_invalid_request_is_rejected_and_the_next_valid_one_works(
    digits, body, message
):
    response = requests.post(f"{digits}:predict", body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert message in error and "\n" not in error
    assert predict(digits, instances=[1]).status_code == 200


@pytest.mark.parametrize("compressed", [False, True])
def test_a_body_of_100_mb_is_read_and_rejected(digits, compressed):
    body = b'{"instances": [' + b" " * 100_000_000 + b"1]}"
    headers = {}
    if compressed:
        body, headers = gzip.compress(body, 1), {"Content-Encoding": "gzip"}
    response = requests.post(f"{digits}:predict", body, headers=headers)
    assert response.status_code == 413
    assert "expected at most 100000 bytes" in response.json()["error"]
    assert predict(digits, instances=[1]).status_code == 200


def test_values_are_counted_before_a_large_body_is_parsed(digits):
    body = '{"instances": [' + "0," * 30_000 + "not JSON]}"
    response = requests.post(f"{digits}:predict", body)
    assert response.status_code == 400
    assert "the request has 30001 values" in response.json()["error"]
    # White space does not count.
    body = '{"instances": [' + " " * 60_000 + "1]}"
    assert requests.post(f"{digits}:predict", body).status_code == 200


def test_refused_bodies_do_not_stay_in_memory(half):
    """The server collects garbage rarely, so errors must not be garbage."""
    body = '{"instances": [' + "0," * 999_999 + "0]}"
    url = f"{half}/v1/models/half_plus_two:predict"
    gc.disable()
    try:
        for _ in range(3):
            error = requests.post(url, body).json()["error"]
            assert "has 1000000 rows" in error
        lists = [x for x in gc.get_objects() if isinstance(x, list)]
        # The last one may still be in use.
        assert sum(len(x) == 1_000_000 for x in lists) <= 1
    finally:
        gc.enable()


def test_gzip_is_decompressed_and_invalid_gzip_is_rejected(digits):
    headers = {"Content-Encoding": "gzip"}
    body = gzip.compress(b'{"instances": [5]}')
    response = requests.post(f"{digits}:predict", body, headers=headers)
    assert response.json() == predict(digits, instances=[5]).json()
    for wrong, problem in (
        (b"none", ""),
        (body[:-1], ": it is truncated"),
        (body + body, ": data follows its end"),
    ):
        response = requests.post(f"{digits}:predict", wrong, headers=headers)
        assert response.status_code == 400
        error = response.json()["error"]
        assert f"the body is not valid gzip{problem}" in error


def start_request(url):
    """A connection that has sent the headers of a request with 18 bytes."""
    host, port = url.split("/")[2].split(":")
    connection = socket.create_connection((host, int(port)))
    connection.sendall(
        b"POST /v1/models/digits:predict HTTP/1.1\r\nHost: x\r\n"
        b"Content-Length: 18\r\n\r\n"
    )
    return connection


def read_response(connection):
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, json.loads(response.read())


def test_slow_and_disconnected_clients_do_not_block_others(digits):
    slow = [start_request(digits) for _ in range(100)]
    for connection in slow:
        connection.sendall(b'{"instanc')
    for connection in slow[:50]:
        connection.close()
    impatient = start_request(digits)
    impatient.sendall(b'{"instances": [5]}')
    impatient.close()
    assert predict(digits, instances=[1]).status_code == 200
    slow[-1].sendall(b'es": [5]}')
    expected = predict(digits, instances=[5]).json()
    assert read_response(slow[-1]) == (200, expected)
    for connection in slow[50:]:
        connection.close()


def test_an_incomplete_body_times_out(digits, monkeypatch):
    monkeypatch.setattr(request_body, "TIMEOUT_SECS", 0.2)
    connection = start_request(digits)
    connection.sendall(b"{")
    status, content = read_response(connection)
    assert status == 504
    assert "did not arrive completely within 0.2 s" in content["error"]
    connection.close()


def is_closed(connection):
    """Whether the server closes a connection within 10 s."""
    connection.settimeout(10)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nA: b\r\n"]
)
def test_a_connection_without_a_request_is_closed(digits, monkeypatch, sent):
    monkeypatch.setattr(http_protocol, "HEADER_SECS", 0.3)
    address = digits.split("/")[2].split(":")
    with socket.create_connection(address) as connection:
        connection.sendall(sent)
        assert is_closed(connection)
    # Nor may one drip its second request.
    with socket.create_connection(address) as connection:
        connection.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_response(connection)[0] == 404
        for _ in range(3):
            connection.sendall(b"G")
        assert is_closed(connection)
    assert predict(digits, instances=[1]).status_code == 200


def test_too_many_connections_receive_503(digits, monkeypatch):
    monkeypatch.setattr(http_protocol, "MAX_CONNECTIONS", 0)
    address = digits.split("/")[2].split(":")
    with socket.create_connection(address) as connection:
        expected = (503, {"error": "too many connections"})
        assert read_response(connection) == expected
        assert is_closed(connection)
    monkeypatch.undo()
    assert predict(digits, instances=[1]).status_code == 200


def test_metrics_for_prometheus(half):
    url = f"{half}/v1/models/half_plus_two:predict"
    requests.post(url, '{"instances": [1]}')
    requests.post(url, "{")
    response = requests.get(f"{half}/monitoring/prometheus/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    metrics = dict(
        line.rsplit(" ", 1)
        for line in response.text.splitlines()
        if not line.startswith("#")
    )
    name = ":tensorflow:serving:request_"
    label = 'model_name="half_plus_two"'
    ok = float(metrics[f'{name}count{{{label},status="OK"}}'])
    invalid = float(
        metrics[f'{name}count{{{label},status="INVALID_ARGUMENT"}}']
    )
    assert ok >= 1 and invalid >= 1
    latency = f'{name}latency_count{{API="predict",entrypoint="REST",{label}}}'
    assert float(metrics[latency]) == ok
    runtime = ":tensorflow:serving:runtime_latency"
    labels = f'{{API="Predict",{label},runtime="TF1"}}'
    assert float(metrics[f"{runtime}_count{labels}"]) == ok
    assert float(metrics[f"{runtime}_sum{labels}"]) > 0
    types = set(re.findall("# TYPE (:.*)", response.text))
    assert types >= {
        f"{name}count counter",
        f"{name}latency histogram",
        f"{runtime} histogram",
    }
