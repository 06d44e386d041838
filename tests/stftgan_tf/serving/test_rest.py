import base64
import gzip
import http.client
import json
import socket

import numpy as np
import pytest
import requests

from stftgan_tf.saved_model import loading as exported
from tests.conftest import serve

pytest.importorskip("starlette")


@pytest.fixture(scope="module")
def half(half_plus_two):
    server = serve(half_plus_two, "--model_name=half_plus_two")
    yield f"http://127.0.0.1:{server.rest_api_port}"
    server.stop()


@pytest.fixture(scope="module")
def served(export, tmp_path_factory):
    """The address of the shared export as model `digits`, version 1."""
    base = tmp_path_factory.mktemp("served")
    (base / "1").symlink_to(export)
    server = serve(base, "--model_name=digits", "--max_request_bytes=100000")
    yield f"http://127.0.0.1:{server.rest_api_port}/v1/models/digits"
    server.stop()


# Requests and answers in TensorFlow Serving's documentation (docker.md and
# api_rest.md) and in its own tests (http_rest_api_handler_test.cc).
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
    found = requests.post(f"{half}/v1/models/half_plus_two{path}", body)
    assert found.status_code == 200
    assert found.headers["content-type"] == "application/json"
    assert found.json() == answer


def test_documented_status(half):
    found = requests.get(f"{half}/v1/models/half_plus_two").json()
    status = {"error_code": "OK", "error_message": ""}
    row = {"version": "123", "state": "AVAILABLE", "status": status}
    assert found == {"model_version_status": [row]}
    same = requests.get(f"{half}/v1/models/half_plus_two/versions/123").json()
    assert same == found


def test_documented_metadata(half):
    found = requests.get(f"{half}/v1/models/half_plus_two/metadata").json()
    spec = {"name": "half_plus_two", "signature_name": "", "version": "123"}
    assert found["model_spec"] == spec
    signature = found["metadata"]["signature_def"]["signature_def"]
    signature = signature["serving_default"]
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
            "classify is not served here; expected predict",
        ),
        ("GET", "/favicon.ico", 404, "no such path: /favicon.ico"),
    ],
)
def test_documented_refusals(half, method, path, status, message):
    found = requests.request(method, half + path, data='{"instances": [1.0]}')
    assert (found.status_code, found.json()) == (status, {"error": message})


def predict(served, **body):
    return requests.post(f"{served}:predict", json=body)


def test_rows_and_columns_hold_the_audio_of_the_seed(served, export):
    wanted = next(exported.load(export).batches(5, 2, 2))
    rows = predict(served, instances=[{"seed": 5}, {"seed": 6}]).json()
    columns = predict(served, inputs={"seed": [5, 6]}).json()["outputs"]
    for i, row in enumerate(rows["predictions"]):
        assert row.keys() == columns.keys() == {"audio", "window", "wav_bytes"}
        np.testing.assert_array_equal(
            np.float32(row["audio"]), wanted["audio"][i]
        )
        np.testing.assert_array_equal(
            np.float32(columns["window"][i]), wanted["window"][i]
        )
        for found in (row["wav_bytes"], columns["wav_bytes"][i]):
            assert base64.b64decode(found["b64"]) == wanted["wav_bytes"][i]


def test_one_input_needs_no_name_and_psi_has_a_default(served):
    plain = predict(served, instances=[5, 6]).json()
    assert plain == predict(served, instances=[{"seed": 5}, {"seed": 6}]).json()
    sample = {"signature_name": "sample"}
    without = predict(served, **sample, instances=[{"seed": 5}, {"seed": 6}])
    assert without.json() == plain
    truncation = [{"seed": 5, "truncation": 1}, {"seed": 6, "truncation": 0.5}]
    found = predict(served, **sample, instances=truncation).json()[
        "predictions"
    ]
    assert found[0] == plain["predictions"][0]
    assert found[1] != plain["predictions"][1]


def of(signature_name, **body):
    return json.dumps({"signature_name": signature_name, **body})


UNEVEN = {"seed_a": [1], "seed_b": [1, 2], "weight": [0.5]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "JSON Parse error: The document is empty"),
        ("{", "JSON Parse error: Expecting property name"),
        ("[" * 100000, "JSON Parse error"),
        ("[1]", "JSON Value: [1] Is not object"),
        ("{}", "Missing 'inputs' or 'instances' key"),
        ('{"instances": [1], "inputs": [1]}', "expecting only one of"),
        ('{"instances": 1}', "Expecting 'instances' to be an list/array"),
        ('{"instances": []}', "No values in 'instances' array"),
        ('{"inputs": {"seed": []}}', "input seed has 0 rows; expected 1 to 64"),
        (json.dumps({"instances": [1] * 65}), "has 65 rows; expected 1 to 64"),
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
        ('{"instances": [[1], 2]}', "2 found where a list of 1 was expected"),
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
        ('{"inputs": {"sed": [1]}}', "'inputs' object has unknown input: sed"),
        ('{"inputs": {}}', "Missing named input: seed in 'inputs' object."),
        ('{"inputs": 5}', "input seed has shape []; expected [-1]"),
        (
            of("x", instances=[1]),
            'signature name: "x" not found in signature def',
        ),
        (of(1, instances=[1]), "'signature_name' key must be a string value."),
        (
            of("generate", instances=[[1, 2]]),
            "input latent has shape [1, 2]; expected [-1, 8]",
        ),
        (of("generate", instances=[[1, "a"]]), 'JSON Value: "a"'),
        (
            of("generate", instances=[[float("nan")] * 8]),
            "input latent has values that are not finite",
        ),
        (
            of("interpolate", instances=[1]),
            "expecting objects as multiple input tensors",
        ),
        (
            of("interpolate", inputs=UNEVEN),
            "inputs differ in their number of rows",
        ),
        (r'{"signature_name": "\ud800", "instances": [1]}', "signature"),
        (
            '{"instances": ' + "[" * 40 + "1" + "]" * 40 + "}",
            "lists are nested more than 32 deep",
        ),
    ],
)
def test_a_bad_request_is_told_and_the_next_good_one_served(
    served, body, message
):
    found = requests.post(f"{served}:predict", body)
    assert found.status_code == 400
    error = found.json()["error"]
    assert message in error and "\n" not in error
    assert predict(served, instances=[1]).status_code == 200


@pytest.mark.parametrize("packed", [False, True])
def test_100_mb_are_read_and_refused(served, packed):
    body = b'{"instances": [' + b" " * 100_000_000 + b"1]}"
    headers = {}
    if packed:
        body, headers = gzip.compress(body, 1), {"Content-Encoding": "gzip"}
    found = requests.post(f"{served}:predict", body, headers=headers)
    assert found.status_code == 413
    assert "expected at most 100000" in found.json()["error"]
    assert predict(served, instances=[1]).status_code == 200


def test_gzip_is_unpacked_and_what_is_none_refused(served):
    headers = {"Content-Encoding": "gzip"}
    body = gzip.compress(b'{"instances": [5]}')
    found = requests.post(f"{served}:predict", body, headers=headers)
    assert found.json() == predict(served, instances=[5]).json()
    found = requests.post(f"{served}:predict", b"none", headers=headers)
    assert found.status_code == 400
    assert "the body is no gzip" in found.json()["error"]


def test_slow_and_vanishing_clients_hold_nobody_up(served):
    host, port = served.split("/")[2].split(":")
    head = b"POST /v1/models/digits:predict HTTP/1.1\r\nHost: x\r\n"
    slow = []
    for _ in range(100):
        client = socket.create_connection((host, int(port)))
        client.sendall(head + b'Content-Length: 18\r\n\r\n{"instanc')
        slow.append(client)
    for client in slow[:50]:
        client.close()
    gone = socket.create_connection((host, int(port)))
    gone.sendall(head + b'Content-Length: 18\r\n\r\n{"instances": [5]}')
    gone.close()
    assert predict(served, instances=[1]).status_code == 200
    slow[-1].sendall(b'es": [5]}')
    answer = http.client.HTTPResponse(slow[-1])
    answer.begin()
    assert json.loads(answer.read()) == predict(served, instances=[5]).json()
    for client in slow[50:]:
        client.close()


def test_a_body_that_does_not_come_is_not_waited_for(served, monkeypatch):
    from stftgan_tf.serving import rest

    monkeypatch.setattr(rest, "BODY_SECS", 0.2)
    host, port = served.split("/")[2].split(":")
    client = socket.create_connection((host, int(port)))
    client.sendall(
        b"POST /v1/models/digits:predict HTTP/1.1\r\nHost: x\r\n"
        b"Content-Length: 18\r\n\r\n{"
    )
    answer = http.client.HTTPResponse(client)
    answer.begin()
    assert answer.status == 504
    assert "no whole request within" in json.loads(answer.read())["error"]


def test_figures_for_prometheus(half):
    requests.post(
        f"{half}/v1/models/half_plus_two:predict", '{"instances": [1]}'
    )
    requests.post(f"{half}/v1/models/half_plus_two:predict", "{")
    found = requests.get(f"{half}/monitoring/prometheus/metrics")
    assert found.headers["content-type"].startswith("text/plain")
    lines = dict(
        line.rsplit(" ", 1)
        for line in found.text.splitlines()
        if not line.startswith("#")
    )
    name = ":tensorflow:serving:request_"
    label = 'model_name="half_plus_two"'
    ok = float(lines[f'{name}count{{{label},status="OK"}}'])
    bad = float(lines[f'{name}count{{{label},status="INVALID_ARGUMENT"}}'])
    assert ok >= 1 and bad >= 1
    timed = f'{name}latency_count{{API="predict",entrypoint="REST",{label}}}'
    assert float(lines[timed]) == ok
