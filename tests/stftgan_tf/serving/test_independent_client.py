"""A client that is not ours, and that has its own protocol messages."""

import base64

import numpy as np
import pytest

pytest.importorskip("tensorflow_serving")
ovmsclient = pytest.importorskip("ovmsclient")


@pytest.fixture(scope="module", params=["gRPC", "REST"])
def client(request, server_ports):
    rest, grpc = server_ports
    if request.param == "gRPC":
        return ovmsclient.make_grpc_client(f"127.0.0.1:{grpc}")
    return ovmsclient.make_http_client(f"127.0.0.1:{rest}")


def test_samples_are_those_of_the_export(client, model):
    expected = next(model.batches(5, 2, 2))
    seed = np.array([5, 6])
    outputs = client.predict({"seed": seed}, "digits", model_version=1)
    assert outputs.keys() == {"audio", "window", "wav_bytes"}
    for name in ("audio", "window"):
        np.testing.assert_array_equal(
            np.float32(outputs[name]), expected[name], name
        )
    # Its NumPy strings lose the zeros at the end.
    assert [wav(value).rstrip(b"\0") for value in outputs["wav_bytes"]] == [
        value.rstrip(b"\0") for value in expected["wav_bytes"]
    ]


def wav(value):
    """The bytes of a WAV file, which the client does not decode in REST."""
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


def test_status_and_metadata(client):
    status = client.get_model_status("digits", model_version=1)
    assert status[1]["state"] == "AVAILABLE"
    metadata = client.get_model_metadata("digits", model_version=1)
    if "metadata" in metadata:
        # It does not interpret the names of TensorFlow Serving's JSON.
        assert metadata["model_spec"]["version"] == "1"
    else:
        assert metadata["model_version"] == 1
        seed = {"shape": [-1], "dtype": "DT_INT64"}
        assert metadata["inputs"]["seed"] == seed


def test_errors_are_understood(client):
    from ovmsclient.tfs_compat.base import errors

    with pytest.raises(errors.ModelNotFoundError, match="Servable not found"):
        client.predict({"seed": [1]}, "nothing", model_version=1)
    with pytest.raises(errors.InvalidInputError):
        client.predict({"label": [1]}, "digits", model_version=1)
