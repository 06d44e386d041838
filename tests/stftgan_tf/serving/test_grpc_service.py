import gc
import threading

import numpy as np
import pytest

from stftgan_tf.saved_model import loading

grpc = pytest.importorskip("grpc")
pytest.importorskip("tensorflow_serving")

import tensorflow as tf  # noqa: E402
from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: E402
from tensorflow_serving.apis import (  # noqa: E402
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def channel(digits_server):
    """A channel to the shared export as model `digits`."""
    with grpc.insecure_channel(f"127.0.0.1:{digits_server.port}") as channel:
        yield channel


def predict(channel, name="digits", signature="", version=None, **inputs):
    """Sends a request with arrays or TensorProtos."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    request.output_filter.extend(inputs.pop("output_filter", []))
    for key, value in inputs.items():
        if not hasattr(value, "tensor_shape"):
            value = tf.make_tensor_proto(value)
        request.inputs[key].CopyFrom(value)
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    return stub.Predict(request, timeout=60)


SEED = np.array([5, 6])


def test_refused_requests_do_not_stay_in_memory(channel):
    """The server collects garbage rarely, so errors must not be garbage."""
    kind = predict_pb2.PredictRequest
    request = kind(inputs={"seed": tf.make_tensor_proto(np.arange(5000))})
    request.model_spec.name = "digits"
    # As bytes, because the server shares this process.
    message = request.SerializeToString()
    del request
    send = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            with pytest.raises(grpc.RpcError, match="has 5000 rows"):
                send(message, timeout=60)
        # The last one may still be in use.
        assert sum(isinstance(x, kind) for x in gc.get_objects()) <= 1
    finally:
        gc.enable()


def test_the_response_contains_the_samples_of_the_export(channel, model):
    response = predict(channel, seed=SEED)
    assert response.model_spec.name == "digits"
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "serving_default"
    expected = next(model.batches(5, 2, 2))
    expected.pop("seed")
    assert response.outputs.keys() == expected.keys()
    for name, value in expected.items():
        output = tf.make_ndarray(response.outputs[name])
        np.testing.assert_array_equal(output, value)
    # Where clients of TensorFlow Serving read it.
    audio = response.outputs["audio"].float_val
    np.testing.assert_array_equal(np.float32(audio), expected["audio"].ravel())


def test_defaults_typed_fields_and_the_output_filter(channel):
    typed = tf.compat.v1.make_tensor_proto(SEED)
    typed.ClearField("tensor_content")
    typed.int64_val.extend(SEED)
    plain = predict(channel, seed=SEED)
    filtered = predict(
        channel, signature="sample", seed=typed, output_filter=["audio"]
    )
    assert list(filtered.outputs) == ["audio"]
    np.testing.assert_array_equal(
        tf.make_ndarray(filtered.outputs["audio"]),
        tf.make_ndarray(plain.outputs["audio"]),
    )


def with_shape(*shape):
    """A proto with one number that claims a different shape."""
    proto = tf.make_tensor_proto(np.array([1.0], np.float32))
    proto.ClearField("tensor_shape")
    proto.tensor_content = b""
    proto.float_val.append(1.0)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def truncated():
    proto = tf.make_tensor_proto(SEED)
    proto.tensor_content = proto.tensor_content[:-3]
    return proto


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        ({"name": "x", "seed": SEED}, Code.NOT_FOUND, "Latest(x)"),
        ({"version": 7, "seed": SEED}, Code.NOT_FOUND, "Specific(digits, 7)"),
        ({"name": ""}, Code.INVALID_ARGUMENT, "ModelSpec has no name"),
        (
            {"signature": "x", "seed": SEED},
            Code.FAILED_PRECONDITION,
            'Serving signature key "x" not found.',
        ),
        ({}, Code.INVALID_ARGUMENT, "Missing but required: {seed}"),
        (
            {"seed": SEED, "speed": SEED},
            Code.INVALID_ARGUMENT,
            "Sent extra: {speed}",
        ),
        (
            {"seed": np.float32([1])},
            Code.INVALID_ARGUMENT,
            "input seed is float32; expected int64",
        ),
        (
            {"seed": SEED[None]},
            Code.INVALID_ARGUMENT,
            "input seed has shape [1, 2]; expected [-1]",
        ),
        ({"seed": SEED[:0]}, Code.INVALID_ARGUMENT, "0 rows; expected 1 to 16"),
        ({"seed": np.arange(17)}, Code.INVALID_ARGUMENT, "17 rows"),
        (
            {"signature": "generate", "latent": np.full([1, 8], np.nan, "f4")},
            Code.INVALID_ARGUMENT,
            "latent must be -1000 to 1000",
        ),
        (
            {"signature": "generate", "latent": with_shape(10**9, 8)},
            Code.INVALID_ARGUMENT,
            "1000000000 rows",
        ),
        (
            {"signature": "generate", "latent": with_shape(-5, 8)},
            Code.INVALID_ARGUMENT,
            "tensor parsing error: latent: its shape is unknown",
        ),
        ({"seed": truncated()}, Code.INVALID_ARGUMENT, "tensor parsing error"),
        (
            {"seed": SEED, "output_filter": ["x"]},
            Code.INVALID_ARGUMENT,
            "output tensor alias not found in signature: x",
        ),
        (
            {"seed": SEED, "output_filter": ["audio", "audio"]},
            Code.INVALID_ARGUMENT,
            "duplicate output tensor alias",
        ),
        (
            {"seed": np.zeros(1_000_000, np.int64)},
            Code.RESOURCE_EXHAUSTED,
            "100000",
        ),
    ],
)
def test_an_invalid_request_is_rejected_and_the_next_valid_one_works(
    channel, request_, code, message
):
    with pytest.raises(grpc.RpcError) as error:
        predict(channel, **request_)
    assert error.value.code() == code
    assert message in error.value.details()
    assert "\n" not in error.value.details()
    assert predict(channel, seed=SEED).outputs


def test_metadata_contains_the_signatures(channel):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = "digits"
    for fields, message in (([], "at least one"), (["x"], "not supported")):
        request.metadata_field[:] = fields
        with pytest.raises(grpc.RpcError, match=message) as error:
            stub.GetModelMetadata(request)
        assert error.value.code() == Code.INVALID_ARGUMENT
    request.metadata_field[:] = ["signature_def"]
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response = stub.GetModelMetadata(request)
    response.metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def) == set(loading.SIGNATURES)
    assert response.model_spec.version.value == 1


def test_status_and_health(channel):
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "digits"
    (status,) = stub.GetModelStatus(request).model_version_status
    assert status.version == 1
    assert status.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE
    request.model_spec.name = "x"
    with pytest.raises(grpc.RpcError) as error:
        stub.GetModelStatus(request)
    assert error.value.code() == Code.NOT_FOUND
    health = health_pb2_grpc.HealthStub(channel)
    response = health.Check(health_pb2.HealthCheckRequest())
    assert response.status == health_pb2.HealthCheckResponse.SERVING


def test_other_methods_are_unimplemented(channel):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    with pytest.raises(grpc.RpcError) as error:
        stub.Classify(classification_pb2.ClassificationRequest())
    assert error.value.code() == Code.UNIMPLEMENTED


def test_silent_streams_do_not_block_others(channel, digits_server):
    address = f"127.0.0.1:{digits_server.port}"
    silent = grpc.insecure_channel(address)
    method = silent.stream_unary(
        "/tensorflow.serving.PredictionService/Predict"
    )
    end = threading.Event()

    def nothing():
        end.wait(60)
        yield b""

    # More than the server has threads.
    calls = [method.future(nothing()) for _ in range(100)]
    try:
        assert predict(channel, seed=SEED).model_spec.name == "digits"
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest()
        assert stub.Check(request, timeout=10).status == 1
    finally:
        for call in calls:
            call.cancel()
        end.set()
        silent.close()


def test_long_messages_of_errors_are_cut(channel):
    with pytest.raises(grpc.RpcError) as caught:
        predict(channel, name="\u00e4" * 5000, seed=SEED)
    assert caught.value.code() == Code.NOT_FOUND
    assert 1000 < len(caught.value.details().encode()) <= 1024
