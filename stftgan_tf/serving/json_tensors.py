"""Tensors in request bodies of TensorFlow Serving's REST API.

A tensor is nested lists, and bytes are {"b64": "..."} (TensorFlow Serving,
"RESTful API"). Most error messages are copied from TensorFlow Serving.
"""

import base64
import binascii
import json
from typing import Any

import grpc
import numpy as np
import tensorflow as tf

from stftgan_tf.serving.errors import RequestError, invalid_argument
from stftgan_tf.serving.model import ModelVersion, TensorInfo

# NumPy's limit before version 2.
_MAX_RANK = 32

# Characters of a value that an error message shows.
_MAX_EXCERPT = 60


def to_array(
    value: Any, key: str, info: TensorInfo, model: ModelVersion, prefix: str
) -> np.ndarray:
    """Converts nested lists.

    Args:
      value: nested lists, or one value.
      key: the name of the input.
      info: the type and shape of the input.
      model: checks the shape before any value is converted.
      prefix: the start of error messages.

    Raises:
      RequestError: if lists differ in length, the shape does not fit, or a
        value has the wrong type.
    """
    dtype = tf.dtypes.as_dtype(info.dtype)
    if dtype not in _TYPES:
        raise RequestError(
            grpc.StatusCode.UNIMPLEMENTED,
            f"Conversion of JSON Value: {excerpt(value)} to type: {dtype.name}",
        )
    try:
        shape = _shape_of(value)
        items = _flatten(value, shape)
    except RequestError as error:
        raise RequestError(error.code, prefix + error.message) from error
    model.check_shape(key, info, shape)
    try:
        return _convert(items, dtype).reshape(shape)
    except RequestError as error:
        raise RequestError(error.code, prefix + error.message) from error


def _convert(items: list, dtype: tf.DType) -> np.ndarray:
    """An array of values; RequestError names the first of a wrong type."""
    # All steps are loops in C: a request may contain a million values.
    wrong = set(map(type, items)) - _TYPES[dtype]
    if wrong:
        raise _wrong_type(next(x for x in items if type(x) in wrong), dtype)
    if dtype == tf.string:
        return np.array([_to_bytes(item) for item in items], object)
    if dtype.is_integer and items:
        limits = np.iinfo(dtype.as_numpy_dtype)
        for item in (min(items), max(items)):
            if not limits.min <= item <= limits.max:
                raise _wrong_type(item, dtype)
    if dtype.is_floating and items:
        _check_precision(items, dtype)
    return np.array(items, dtype.as_numpy_dtype)


def _check_precision(items: list, dtype: tf.DType) -> None:
    """Raises RequestError if a finite number would change a lot.

    That is, if a whole number has more digits than the type, or another one
    would become infinite (TensorFlow Serving, json_tensor.cc).
    """
    info = np.finfo(dtype.as_numpy_dtype)
    whole = [item for item in items if type(item) is int]
    largest = 2 ** (info.nmant + 1) - 1
    for item in whole and (min(whole), max(whole)):
        if abs(item) > largest:
            raise _lossy(item, dtype)
    if len(whole) < len(items):
        values = np.array(items, np.float64)
        too_large = np.isfinite(values) & (np.abs(values) > float(info.max))
        if too_large.any():
            raise _lossy(items[too_large.argmax()], dtype)


def _shape_of(value: Any) -> list[int]:
    """The shape of nested lists, judged by the first list of each level."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if len(shape) > _MAX_RANK:
            raise invalid_argument(
                f"lists are nested more than {_MAX_RANK} deep"
            )
        if not value:
            break
        value = value[0]
    return shape


def _flatten(value: Any, shape: list[int]) -> list:
    """The items of nested lists; RequestError if they do not fit the shape."""
    items = [value]
    for size in shape:
        for part in items:
            if not isinstance(part, list):
                raise invalid_argument(
                    f"{excerpt(part)} is not a list of {size} values: the "
                    f"tensor has shape {shape}"
                )
            if len(part) != size:
                raise invalid_argument(
                    f"Expecting tensor size: {size} but got: {len(part)}"
                )
        items = [item for part in items for item in part]
    return items


def _to_bytes(value: str | dict) -> bytes:
    if isinstance(value, str):
        # A lone surrogate is no character that UTF-8 could encode.
        return value.encode("utf-8", "replace")
    if value.keys() != {"b64"}:
        raise _wrong_type(value, tf.string)
    try:
        return _decode_base64(value["b64"])
    except (binascii.Error, AttributeError, ValueError) as error:
        raise invalid_argument("Unable to base64 decode") from error


def _decode_base64(text: str) -> bytes:
    """Decodes base64, whose padding may be missing.

    Raises:
      AttributeError: if it is not text.
      ValueError: if it is not base64.
    """
    text = "".join(text.split())
    digits = text.rstrip("=")
    padding = -len(digits) % 4 * "="
    if text not in (digits, digits + padding):
        raise ValueError("wrong padding")
    return base64.b64decode(digits + padding, validate=True)


_INTEGERS = (
    tf.int64,
    tf.int32,
    tf.int16,
    tf.int8,
    tf.uint64,
    tf.uint32,
    tf.uint16,
    tf.uint8,
)

# Types of JSON values that each type of input accepts.
_TYPES: dict[tf.DType, set[type]] = {
    **dict.fromkeys(_INTEGERS, {int}),
    **dict.fromkeys([tf.float32, tf.float64, tf.float16], {int, float}),
    tf.bool: {bool},
    tf.string: {str, dict},
}


def _wrong_type(value: Any, dtype: tf.DType) -> RequestError:
    kinds = {str: "String", bool: "Bool", dict: "Object", list: "Array"}
    kind = kinds.get(type(value), "Null" if value is None else "Number")
    return invalid_argument(
        f"JSON Value: {excerpt(value)} Type: {kind} is not of expected type: "
        f"{dtype.name}"
    )


def _lossy(value: float, dtype: tf.DType) -> RequestError:
    return invalid_argument(
        f"Cannot convert JSON value: {excerpt(value)} to {dtype.name} "
        "without loss of precision."
    )


def excerpt(value: Any) -> str:
    """The start of a value as JSON, at a cost that does not grow with it."""
    text = ""
    for part in json.JSONEncoder().iterencode(value):
        text += part
        if len(text) > _MAX_EXCERPT:
            return text[:_MAX_EXCERPT] + "..."
    return text
