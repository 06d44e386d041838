"""No gRPC request is a failure of the server, whatever its tensors claim."""

import grpc
import pytest

hypothesis = pytest.importorskip("hypothesis")

import tensorflow as tf  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from tensorflow.core.framework import tensor_pb2, types_pb2  # noqa: E402
from tensorflow_serving.apis import (  # noqa: E402
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests.stftgan_tf.serving.conformance import cases, models  # noqa: E402

FIELDS = (
    "bool_val",
    "double_val",
    "float_val",
    "half_val",
    "int64_val",
    "int_val",
    "uint32_val",
    "uint64_val",
)
CLIENT_ERRORS = ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND")


@st.composite
def tensors(draw):
    """TensorProtos whose type, shape and values need not fit each other."""
    proto = tensor_pb2.TensorProto()
    proto.dtype = draw(st.sampled_from(types_pb2.DataType.values()))
    for size in draw(st.lists(st.integers(-1, 3), max_size=4)):
        proto.tensor_shape.dim.add(size=size)
    if draw(st.booleans()):
        # Usually a size that no message of this length can fill.
        proto.tensor_shape.dim.add(size=draw(st.integers(0, 2**63 - 1)))
    proto.tensor_shape.unknown_rank = draw(st.integers(0, 9)) == 9
    values = draw(st.lists(st.integers(0, 1), max_size=9))
    getattr(proto, draw(st.sampled_from(FIELDS))).extend(values)
    proto.string_val.extend(draw(st.lists(st.binary(), max_size=2)))
    if draw(st.booleans()):
        proto.tensor_content = draw(st.binary(max_size=64))
    return proto


SIGNATURES = st.sampled_from(
    [*models.TYPES, "", "x", "bytes", "scalar", "uneven", "complex", "check"]
)


@settings(max_examples=300, deadline=None)
@given(
    signature=SIGNATURES,
    has_its_type=st.booleans(),
    inputs=st.dictionaries(st.sampled_from(["x"] * 9 + ["y"]), tensors()),
    outputs=st.lists(st.sampled_from(["y"] * 9 + ["z"]), max_size=2),
)
def test_no_tensor_is_a_failure_of_the_server(
    server, channel, signature, has_its_type, inputs, outputs
):
    if server[0] != cases.OURS:
        pytest.skip("tests our server only")
    request = predict_pb2.PredictRequest(output_filter=outputs)
    request.model_spec.name = "echo"
    request.model_spec.signature_name = signature
    for name, proto in inputs.items():
        request.inputs[name].CopyFrom(proto)
        if has_its_type and signature in models.TYPES:
            dtype = tf.as_dtype(signature).as_datatype_enum
            request.inputs[name].dtype = dtype
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    try:
        stub.Predict(request, timeout=60)
    except grpc.RpcError as error:
        assert error.code().name in CLIENT_ERRORS, error.details()
