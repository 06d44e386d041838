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
        # orjson rejects NaN here; json lets later checks name the input.
        request = json.loads(body)
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
        return _parse_rows(request["instances"], signature), True
    if "inputs" in request:
        return _parse_columns(request["inputs"], signature), False
    raise invalid_argument("Missing 'inputs' or 'instances' key")


def _parse_rows(instances: Any, signature: SignatureDef) -> dict[str, Any]:
    return {
        key: _to_array(
            values,
            signature.inputs[key],
            f"Failed to process key: {key} of 'instances' list. Error: "
            "INVALID_ARGUMENT: ",
        )
        for key, values in _rows_to_columns(instances, signature).items()
    }


def _parse_columns(columns: Any, signature: SignatureDef) -> dict[str, Any]:
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
        key: _to_array(value, signature.inputs[key], f"input {key}: ")
        for key, value in columns.items()
    }


def _rows_to_columns(
    instances: Any, signature: SignatureDef
) -> dict[str, list]:
    """Collects the values of each input from all rows."""
    if not isinstance(instances, list):
        raise invalid_argument("Expecting 'instances' to be an list/array")
    if not instances:
        raise invalid_argument("No values in 'instances' array")
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


def _to_array(value: Any, info: TensorInfo, prefix: str) -> np.ndarray:
    """Converts nested lists.

    Args:
      value: nested lists, or one value.
      info: the type of the input.
      prefix: the start of error messages.

    Raises:
      RequestError: if lists differ in length or a value has the wrong type.
    """
    dtype = tf.dtypes.as_dtype(info.dtype)
    convert = _CONVERTERS.get(dtype)
    if convert is None:
        raise RequestError(
            grpc.StatusCode.UNIMPLEMENTED,
            f"Conversion of JSON Value: {_excerpt(value)} to type: "
            f"{dtype.name}",
        )
    try:
        shape = _shape_of(value)
        items = [convert(item, dtype) for item in _flatten(value, shape)]
    except RequestError as error:
        raise RequestError(error.code, prefix + error.message) from error
    return np.array(items, dtype.as_numpy_dtype).reshape(shape)


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


def _to_int(value: Any, dtype: tf.DType) -> int:
    if type(value) is not int or not dtype.min <= value <= dtype.max:
        raise _wrong_type(value, dtype)
    return value


def _to_float(value: Any, dtype: tf.DType) -> float:
    if type(value) not in (int, float):
        raise _wrong_type(value, dtype)
    try:
        return float(value)
    except OverflowError as error:
        raise _wrong_type(value, dtype) from error


def _to_bool(value: Any, dtype: tf.DType) -> bool:
    if not isinstance(value, bool):
        raise _wrong_type(value, dtype)
    return value


def _to_bytes(value: Any, dtype: tf.DType) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, dict) or value.keys() != {"b64"}:
        raise _wrong_type(value, dtype)
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise invalid_argument("Unable to base64 decode") from error


_CONVERTERS = {
    **dict.fromkeys([tf.int64, tf.int32, tf.int16, tf.int8, tf.uint8], _to_int),
    **dict.fromkeys([tf.float32, tf.float64], _to_float),
    tf.bool: _to_bool,
    tf.string: _to_bytes,
}


def _wrong_type(value: Any, dtype: tf.DType) -> RequestError:
    kinds = {str: "String", bool: "Bool", dict: "Object", list: "Array"}
    kind = kinds.get(type(value), "Null" if value is None else "Number")
    return invalid_argument(
        f"JSON Value: {_excerpt(value)} Type: {kind} is not of expected type: "
        f"{dtype.name}"
    )


def _excerpt(value: Any) -> str:
    text = json.dumps(value)
    if len(text) <= _MAX_EXCERPT:
        return text
    return text[:_MAX_EXCERPT] + "..."
