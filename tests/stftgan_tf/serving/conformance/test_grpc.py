"""gRPC requests, each derived from a test or source of TensorFlow Serving."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tests.stftgan_tf.serving.conformance import cases, models

REQUESTS = {
    "Predict": predict_pb2.PredictRequest,
    "GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest,
    "GetModelStatus": get_model_status_pb2.GetModelStatusRequest,
    "HandleReloadConfigRequest": model_management_pb2.ReloadConfigRequest,
    "Classify": classification_pb2.ClassificationRequest,
    "Regress": regression_pb2.RegressionRequest,
    "MultiInference": inference_pb2.MultiInferenceRequest,
}


def call(channel, method, request):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    if method in ("GetModelStatus", "HandleReloadConfigRequest"):
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
    return getattr(stub, method)(request, timeout=60)


@pytest.mark.parametrize("case", cases.read("grpc.yaml"))
def test_the_answer_is_that_of_tensorflow_serving(server, channel, case):
    expected = cases.expected(case, server[0])
    method = case.get("method", "Predict")
    request = text_format.Parse(case["request"], REQUESTS[method]())
    if "code" in expected:
        with pytest.raises(grpc.RpcError) as caught:
            call(channel, method, request)
        assert caught.value.code().name == expected["code"]
        assert expected.get("error", "") in caught.value.details()
        return
    response = call(channel, method, request)
    if "contains" in expected:
        part = text_format.Parse(expected["contains"], type(response)())
        merged = type(response).FromString(response.SerializeToString())
        merged.MergeFrom(part)
        assert merged == response
    else:
        answer = text_format.Parse(expected["answer"], type(response)())
        assert response == answer


VALUES = {
    "bool": ("bool_val", [True, False]),
    "float16": ("half_val", [0x3800, 0xC000]),
    "float32": ("float_val", [0.5, -2.0]),
    "float64": ("double_val", [0.5, -2.0]),
    "int8": ("int_val", [127, -128]),
    "int16": ("int_val", [32767, -32768]),
    "int32": ("int_val", [2**31 - 1, -(2**31)]),
    "int64": ("int64_val", [2**63 - 1, -(2**63)]),
    "uint8": ("int_val", [255, 0]),
    "uint16": ("int_val", [65535, 0]),
    "uint32": ("uint32_val", [2**32 - 1, 0]),
    "uint64": ("uint64_val", [2**64 - 1, 0]),
    "string": ("string_val", [b"\xff\0", b""]),
}


@pytest.mark.parametrize("dtype", models.TYPES)
def test_values_are_in_the_field_of_their_type(channel, dtype):
    """As in tensor.cc: fields are read and written, and content is read."""
    field, values = VALUES[dtype]
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "echo"
    request.model_spec.signature_name = dtype
    proto = request.inputs["x"]
    proto.dtype = tf.as_dtype(dtype).as_datatype_enum
    proto.tensor_shape.dim.add(size=2)
    getattr(proto, field).extend(values)
    output = call(channel, "Predict", request).outputs["y"]
    assert output == proto
    if dtype != "string":
        content = tf.make_ndarray(proto).tobytes()
        proto.ClearField(field)
        proto.tensor_content = content
        assert call(channel, "Predict", request).outputs["y"] == output


def test_complex_values_are_pairs(channel):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "echo"
    request.model_spec.signature_name = "complex"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.float32([1.5])))
    output = call(channel, "Predict", request).outputs["y"]
    assert list(output.scomplex_val) == [1.5, -1.5]


@pytest.mark.parametrize(
    "service",
    [
        "",
        "tensorflow.serving.PredictionService",
        "tensorflow.serving.ModelService",
    ],
)
def test_the_services_are_healthy(server, channel, service):
    if server[0] == cases.REAL:
        pytest.skip("needs --enable_grpc_healthcheck_service")
    stub = health_pb2_grpc.HealthStub(channel)
    response = stub.Check(health_pb2.HealthCheckRequest(service=service))
    assert response.status == health_pb2.HealthCheckResponse.SERVING


def test_an_unknown_service_is_not_found(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="x"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
