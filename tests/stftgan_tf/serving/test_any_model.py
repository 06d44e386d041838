"""A model with an input of each type; see also `conformance`."""

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


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    base = tmp_path_factory.mktemp("echo")
    echo = Echo()
    tf.saved_model.save(
        echo, str(base / "1"), {"serving_default": echo.vectors}
    )
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
