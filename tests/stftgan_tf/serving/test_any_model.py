"""Models that are not exports of this project: all types, any shape."""

import json

import numpy as np
import pytest
import requests
import tensorflow as tf

from tests.conftest import serve

pytest.importorskip("starlette")

NAMES = (
    "float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 "
    "bool string"
).split()


class Echo(tf.Module):
    @tf.function(
        input_signature=[tf.TensorSpec([None], name, name) for name in NAMES]
    )
    def vectors(self, *values):
        return dict(zip(NAMES, map(tf.identity, values), strict=True))

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32, "x")])
    def scalar(self, x):
        return {"y": 1 / x}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])
    def matrix(self, x):
        return {"inverse": 1 / x, "sum": tf.reduce_sum(x, axis=1)}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    base = tmp_path_factory.mktemp("echo")
    echo = Echo()
    signatures = {"serving_default": echo.vectors}
    signatures |= {"scalar": echo.scalar, "matrix": echo.matrix}
    tf.saved_model.save(echo, str(base / "1"), signatures)
    server = serve(base, model_name="echo")
    yield f"http://127.0.0.1:{server.rest_api_port}/v1/models/echo:predict"
    server.stop()


def post(url, text):
    response = requests.post(url, text)
    # Python's json reads NaN and Infinity, as TensorFlow Serving's clients do.
    return response.status_code, json.loads(response.text)


def test_every_type_comes_back(url):
    largest = {
        name: [int(np.iinfo(name).max), int(np.iinfo(name).min)]
        for name in NAMES
        if "int" in name
    }
    values = {
        **dict.fromkeys(("float16", "float32", "float64"), [0.5, -2.0]),
        **largest,
        "bool": [True, False],
        "string": ["a", "ä"],
    }
    status, answer = post(url, json.dumps({"inputs": values}))
    assert status == 200, answer
    assert answer["outputs"] == values
    rows = [{name: values[name][i] for name in NAMES} for i in range(2)]
    status, answer = post(url, json.dumps({"instances": rows}))
    assert (status, answer["predictions"]) == (200, rows)
    for name in largest:
        for wrong in (values[name][0] + 1, values[name][1] - 1, 0.0, True):
            changed = {**values, name: [wrong, 0]}
            status, answer = post(url, json.dumps({"inputs": changed}))
            assert status == 400
            assert f"is not of expected type: {name}" in answer["error"]


def test_numbers_that_are_not_finite_go_both_ways(url):
    body = {"signature_name": "matrix"}
    rows = [[0.0, -0.0], [float("inf"), float("nan")], [2.0, 4.0]]
    for form in ("instances", "inputs"):
        text = json.dumps({**body, form: rows})
        assert "NaN" in text and "Infinity" in text
        status, answer = post(url, text)
        assert status == 200, answer
        if form == "instances":
            inverse = [row["inverse"] for row in answer["predictions"]]
            sums = [row["sum"] for row in answer["predictions"]]
        else:
            inverse, sums = (
                answer["outputs"]["inverse"],
                answer["outputs"]["sum"],
            )
        infinity = float("inf")
        expected = [[infinity, -infinity], [0.0, float("nan")], [0.5, 0.25]]
        np.testing.assert_array_equal(inverse, expected)
        np.testing.assert_array_equal(sums, [0.0, float("nan"), 6.0])


def test_a_scalar_stays_a_scalar(url):
    body = {"signature_name": "scalar", "inputs": 4.0}
    assert post(url, json.dumps(body)) == (200, {"outputs": 0.25})
    body = {"signature_name": "scalar", "inputs": {"x": 0.0}}
    assert post(url, json.dumps(body)) == (200, {"outputs": float("inf")})


def test_a_lone_surrogate_is_the_mistake_of_the_client(url):
    status, answer = post(url, r'{"inputs": "\ud800"}')
    assert status == 400 and "JSON Parse error" in answer["error"]
