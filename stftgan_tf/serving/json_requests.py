"""Request bodies of TensorFlow Serving's REST API.

In row format ("instances") each item is one row of all inputs; in column
format ("inputs") each input is one array. Bytes are {"b64": "..."}
(TensorFlow Serving, "RESTful API"). Most error messages are copied from
TensorFlow Serving.
"""

import base64
import binascii
import json
from typing import Any

import grpc
import numpy as np
import orjson
import tensorflow as tf

from stftgan_tf.serving.errors import RequestError, invalid_argument
from stftgan_tf.serving.model import ModelVersion, SignatureDef, TensorInfo

# NumPy's limit before version 2.
_MAX_RANK = 32

# Characters of a value that an error message shows.
_MAX_EXCERPT = 60


def parse_body(body: bytes) -> dict[str, Any]:
    """Returns the JSON object in a body.

    Raises:
      RequestError: if the body is not a JSON object.
    """
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    try:
        request = _loads(body)
    except json.JSONDecodeError as error:
        raise invalid_argument(
            f"JSON Parse error: {error.msg} at offset: {error.pos}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise invalid_argument(f"JSON Parse error: {error}") from error
    if not isinstance(request, dict):
        raise invalid_argument(f"JSON Value: {_excerpt(request)} Is not object")
    if not isinstance(request.get("signature_name", ""), str):
        raise invalid_argument(
            f"JSON Value: {_excerpt(request)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return request


def _loads(body: bytes) -> Any:
    """Parses JSON that may contain NaN, Infinity and -Infinity."""
    try:
        # Several times faster than json.
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        # Only json accepts them, as TensorFlow Serving does.
        if b"NaN" not in body and b"Infinity" not in body:
            raise
    value = json.loads(body)
    if b"\\u" in body:
        # Unlike orjson, json accepts lone surrogates; UTF-8 cannot encode them.
        json.dumps(value, ensure_ascii=False).encode()
    return value


def parse_inputs(
    request: dict[str, Any], model: ModelVersion
) -> tuple[dict[str, np.ndarray], bool]:
    """Returns arrays by input, and whether the request is in row format.

    Args:
      request: the result of `parse_body`.
      model: the model that has the requested signature.

    Raises:
      RequestError: if the inputs do not match the signature.
    """
    name = request.get("signature_name", "")
    try:
        signature = model.signature(name)
    except RequestError as error:
        raise invalid_argument(
            f'Serving signature name: "{name}" not found in signature def'
        ) from error
    if "instances" in request and "inputs" in request:
        raise invalid_argument(
            f"JSON Value: {_excerpt(request)} Not formatted correctly "
            "expecting only one of 'inputs' or 'instances' keys to exist"
        )
    if "instances" in request:
        instances = _checked_rows(request["instances"], model)
        return _parse_rows(instances, signature, model), True
    if "inputs" in request:
        return _parse_columns(request["inputs"], signature, model), False
    raise invalid_argument("Missing 'inputs' or 'instances' key")


def _checked_rows(instances: Any, model: ModelVersion) -> list:
    """The rows of a request, before anything is computed for each of them."""
    if not isinstance(instances, list):
        raise invalid_argument("Expecting 'instances' to be an list/array")
    if not instances:
        raise invalid_argument("No values in 'instances' array")
    if len(instances) > model.max_batch_size:
        raise invalid_argument(
            f"'instances' has {len(instances)} rows; expected at most "
            f"{model.max_batch_size}"
        )
    return instances


def _parse_rows(
    instances: list, signature: SignatureDef, model: ModelVersion
) -> dict[str, Any]:
    return {
        key: _to_array(
            values,
            key,
            signature.inputs[key],
            model,
            f"Failed to process key: {key} of 'instances' list. Error: "
            "INVALID_ARGUMENT: ",
        )
        for key, values in _rows_to_columns(instances, signature).items()
    }


def _parse_columns(
    columns: Any, signature: SignatureDef, model: ModelVersion
) -> dict[str, Any]:
    if not _is_object(columns):
        name = _only_input(signature, "inputs is a plain value/list")
        columns = {name: columns}
    for key in columns:
        if key not in signature.inputs:
            raise invalid_argument(f"'inputs' object has unknown input: {key}")
    for key in signature.inputs:
        if key not in columns and key not in signature.defaults:
            raise invalid_argument(
                f"Missing named input: {key} in 'inputs' object."
            )
    return {
        key: _to_array(
            value, key, signature.inputs[key], model, f"input {key}: "
        )
        for key, value in columns.items()
    }


def _rows_to_columns(
    instances: list, signature: SignatureDef
) -> dict[str, list]:
    """Collects the values of each input from all rows."""
    if not _is_object(instances[0]):
        return _plain_rows(instances, signature)
    names = instances[0].keys()
    required = set(signature.inputs) - set(signature.defaults)
    columns: dict[str, list] = {name: [] for name in names}
    for i, item in enumerate(instances):
        _check_row(i, item, signature)
        if item.keys() != names or required - item.keys():
            keys = ",".join(sorted(required | names))
            raise invalid_argument(
                f"Failed to process element: {i} of 'instances' list. JSON "
                f"object: {_excerpt(item)} keys must be equal to: {keys}"
            )
        for key, value in item.items():
            columns[key].append(value)
    return columns


def _plain_rows(instances: list, signature: SignatureDef) -> dict[str, list]:
    """The column of rows that are plain values; requires a single input."""
    name = _only_input(signature, "instances is a plain list")
    for i, item in enumerate(instances):
        if _is_object(item):
            raise invalid_argument(
                f"Expecting value/list but got object at item {i} of input list"
            )
    return {name: instances}


def _check_row(index: int, item: Any, signature: SignatureDef) -> None:
    if not _is_object(item):
        raise invalid_argument(
            f"Expecting object but got list at item {index} of input list"
        )
    for key in item:
        if key not in signature.inputs:
            raise invalid_argument(
                f"Failed to process element: {index} of 'instances' list. "
                "Error: INVALID_ARGUMENT: JSON object: does not have named "
                f"input: {key}"
            )


def _only_input(signature: SignatureDef, what: str) -> str:
    if len(signature.inputs) != 1:
        names = ",".join(sorted(signature.inputs))
        raise invalid_argument(
            f"{what}, but expecting objects as multiple input tensors "
            f"required as per tensorinfo_map: {names}"
        )
    return next(iter(signature.inputs))


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() != {"b64"}


def _to_array(
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
            f"Conversion of JSON Value: {_excerpt(value)} to type: "
            f"{dtype.name}",
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
    # Values too large for the type become infinite, as in TensorFlow Serving.
    with np.errstate(over="ignore"):
        return np.array(items, dtype.as_numpy_dtype)


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
                    f"{_excerpt(part)} is not a list of {size} values: the "
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
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise invalid_argument("Unable to base64 decode") from error


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
        f"JSON Value: {_excerpt(value)} Type: {kind} is not of expected type: "
        f"{dtype.name}"
    )


def _excerpt(value: Any) -> str:
    """The start of a value as JSON, at a cost that does not grow with it."""
    text = ""
    for part in json.JSONEncoder().iterencode(value):
        text += part
        if len(text) > _MAX_EXCERPT:
            return text[:_MAX_EXCERPT] + "..."
    return text
