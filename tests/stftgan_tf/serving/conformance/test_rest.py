"""REST requests, each derived from a test or source of TensorFlow Serving."""

import gzip
import json

import numpy as np
import pytest
import requests

from tests.stftgan_tf.serving.conformance import cases

CASES = [
    case
    for file in ("rest_paths.yaml", "rest_requests.yaml", "rest_answers.yaml")
    for case in cases.read(file)
]


@pytest.fixture(scope="module")
def session():
    with requests.Session() as session:
        yield session


@pytest.mark.parametrize("case", CASES)
def test_the_answer_is_that_of_tensorflow_serving(server, session, case):
    name, port, _ = server
    expected = cases.expected(case, name)
    response = send(session, f"http://127.0.0.1:{port}", case)
    assert response.status_code == expected.get("code", 200), response.text
    if "answer" in expected:
        assert response.headers["content-type"] == "application/json"
        # Equal, with NaN equal to NaN.
        np.testing.assert_equal(json.loads(response.text), expected["answer"])
    if "contains" in expected:
        assert cases.contains(response.json(), expected["contains"])
    if "error" in expected:
        assert expected["error"] in response.json()["error"]


def send(session, address, case):
    body = case.get("body")
    if "repeat" in case:
        text, count = case["repeat"]
        body = text * count
    body = None if body is None else body.encode()
    headers = dict(case.get("headers", {}))
    if "gzip" in case:
        body = gzip.compress(body)
        headers["Content-Encoding"] = "gzip"
    if case.get("gzip") == "half":
        body = body[: len(body) // 2]
    method = case.get("method", "GET" if body is None else "POST")
    request = requests.Request(method, address, headers, data=body)
    prepared = session.prepare_request(request)
    # Otherwise the client would change the encoding of the path.
    prepared.url = address + case["path"]
    return session.send(prepared)
