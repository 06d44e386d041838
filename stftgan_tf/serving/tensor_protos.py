"""Converts between arrays and the tensors of TensorFlow Serving's gRPC API."""

import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from stftgan_tf.serving.errors import invalid_argument
from stftgan_tf.serving.model import ModelVersion, check_input_names

# Maximum size of a tensor with fewer values than its shape needs, of which the
# last one is repeated. A tensor with all values is no larger than its message.
_MAX_REPEATED = 2**16

# The field of a TensorProto for values of each type.
_FIELDS: dict[tf.DType, str] = {
    **dict.fromkeys([tf.int32, tf.int16, tf.int8], "int_val"),
    **dict.fromkeys([tf.uint16, tf.uint8], "int_val"),
    **dict.fromkeys([tf.float16, tf.bfloat16], "half_val"),
    tf.int64: "int64_val",
    tf.uint32: "uint32_val",
    tf.uint64: "uint64_val",
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.complex64: "scomplex_val",
    tf.complex128: "dcomplex_val",
    tf.bool: "bool_val",
    tf.string: "string_val",
}

# How the fields of these types store them: bits, and pairs of numbers.
_PARTS: dict[tf.DType, type] = {
    tf.float16: np.uint16,
    tf.bfloat16: np.uint16,
    tf.complex64: np.float32,
    tf.complex128: np.float64,
}


def to_proto(value: np.ndarray) -> tensor_pb2.TensorProto:
    """Converts an array.

    Values are in the field of their type, where clients of TensorFlow Serving
    read them, and not in `tensor_content`.
    """
    dtype = tf.dtypes.as_dtype(value.dtype)
    if dtype not in _FIELDS:
        return tf.make_tensor_proto(value)
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum)
    for size in value.shape:
        proto.tensor_shape.dim.add(size=size)
    values = value.ravel()
    if dtype in _PARTS:
        values = values.view(_PARTS[dtype])
    getattr(proto, _FIELDS[dtype]).extend(values.tolist())
    # A scalar has a shape too, of no dimensions.
    proto.tensor_shape.SetInParent()
    return proto


def to_arrays(
    protos: Mapping[str, tensor_pb2.TensorProto],
    model: ModelVersion,
    signature_name: str,
) -> dict[str, np.ndarray]:
    """Converts the tensors of a request.

    Names and shapes are checked first, because a message of a few bytes can
    describe a tensor of any size.

    Raises:
      RequestError: if a tensor cannot be converted.
    """
    signature = model.signature(signature_name)
    check_input_names(signature, protos)
    arrays = {}
    for name, proto in protos.items():
        shape = [dim.size for dim in proto.tensor_shape.dim]
        if proto.tensor_shape.unknown_rank or min(shape, default=0) < 0:
            raise invalid_argument(
                f"tensor parsing error: {name}: its shape is unknown"
            )
        model.check_shape(name, signature.inputs[name], shape)
        if math.prod(shape) > max(_MAX_REPEATED, proto.ByteSize()):
            raise invalid_argument(
                f"input {name} has shape {shape}, and fewer values; expected "
                f"all values if there are more than {_MAX_REPEATED}"
            )
        try:
            arrays[name] = tf.make_ndarray(proto)
        # Damaged messages can raise any of these.
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            raise invalid_argument(
                f"tensor parsing error: {name}: {error}"
            ) from error
    return arrays
