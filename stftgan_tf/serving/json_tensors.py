"""Tensors in the JSON of TensorFlow Serving's REST interface, and back.

Rows: {"instances": [...]} -> {"predictions": [...]}, an item for each row.
Columns: {"inputs": ...} -> {"outputs": ...}, whole tensors. Bytes are
{"b64": "..."} where a name ends in _bytes (TensorFlow Serving, "RESTful API").
"""

import base64
import binascii
import json
from typing import Any

import grpc
import numpy as np
import orjson
import tensorflow as tf

from stftgan_tf.serving.servable import Refusal, Servable, invalid

# Dimensions of a tensor, of which NumPy knows no more.
_MAX_RANK = 32

# How much of a value an error shows.
_SHOWN = 60


def request_of(body: bytes) -> dict[str, Any]:
    """The object in a body.

    Raises:
      Refusal: if it is not JSON, or no object.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        # Not orjson's: NaN is then told of as a value that is not finite.
        request = json.loads(body)
    except json.JSONDecodeError as error:
        raise invalid(
            f"JSON Parse error: {error.msg} at offset: {error.pos}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise invalid(f"JSON Parse error: {error}") from error
    if not isinstance(request, dict):
        raise invalid(f"JSON Value: {_told(request)} Is not object")
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {_told(request)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return request


def inputs_of(
    request: dict[str, Any], servable: Servable
) -> tuple[dict[str, np.ndarray], bool]:
    """Arrays by input, and whether they came as rows.

    Args:
      request: as `request_of` gives it.
      servable: whose signature is asked for.

    Raises:
      Refusal: if they are not what the signature takes.
    """
    name = request.get("signature_name", "")
    try:
        signature = servable.signature(name)
    except Refusal as error:
        raise invalid(
            f'Serving signature name: "{name}" not found in signature def'
        ) from error
    if "instances" in request and "inputs" in request:
        raise invalid(
            f"JSON Value: {_told(request)} Not formatted correctly expecting "
            "only one of 'inputs' or 'instances' keys to exist"
        )
    if "instances" in request:
        columns = _columns_of(request["instances"], signature)
        given = {
            key: _array(
                values,
                signature.inputs[key],
                f"Failed to process key: {key} of 'instances' list. Error: "
                "INVALID_ARGUMENT: ",
            )
            for key, values in columns.items()
        }
        return given, True
    if "inputs" not in request:
        raise invalid("Missing 'inputs' or 'instances' key")
    values = request["inputs"]
    if not isinstance(values, dict) or values.keys() == {"b64"}:
        values = {
            _only_input(signature, "inputs is a plain value/list"): values
        }
    for key in values:
        if key not in signature.inputs:
            raise invalid(f"'inputs' object has unknown input: {key}")
    for key in signature.inputs:
        if key not in values and key not in signature.defaults:
            raise invalid(f"Missing named input: {key} in 'inputs' object.")
    given = {
        key: _array(value, signature.inputs[key], f"input {key}: ")
        for key, value in values.items()
    }
    return given, False


def answer_of(outputs: dict[str, np.ndarray], rows: bool) -> bytes:
    """The body of an answer."""
    columns = {
        name: _encoded_strings(value, name.endswith("_bytes"))
        if value.dtype == object
        else np.ascontiguousarray(value)
        for name, value in outputs.items()
    }
    if not rows:
        found = columns if len(columns) > 1 else next(iter(columns.values()))
        return dumped({"outputs": found})
    shapes = {name: value.shape for name, value in outputs.items()}
    counts = {shape[:1] for shape in shapes.values()}
    if len(counts) > 1 or counts == {()}:
        raise invalid(
            f"outputs have no rows in common: {shapes}; send 'inputs' instead "
            "of 'instances'"
        )
    if len(columns) == 1:
        found = next(iter(columns.values()))
    else:
        ((count,),) = counts
        found = [
            {name: column[i] for name, column in columns.items()}
            for i in range(count)
        ]
    return dumped({"predictions": found})


def error_of(message: str) -> bytes:
    """The body of an error; half a surrogate pair of a request is no text."""
    return dumped({"error": message.encode("utf-8", "replace").decode()})


def dumped(value: Any) -> bytes:
    """JSON, arrays included."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def _columns_of(instances: Any, signature) -> dict[str, list]:
    """Values by input, of rows."""
    if not isinstance(instances, list):
        raise invalid("Expecting 'instances' to be an list/array")
    if not instances:
        raise invalid("No values in 'instances' array")
    if not _is_object(instances[0]):
        name = _only_input(signature, "instances is a plain list")
        for i, item in enumerate(instances):
            if _is_object(item):
                raise invalid(
                    "Expecting value/list but got object at item "
                    f"{i} of input list"
                )
        return {name: instances}
    names = instances[0].keys()
    required = set(signature.inputs) - set(signature.defaults)
    columns: dict[str, list] = {name: [] for name in names}
    for i, item in enumerate(instances):
        if not _is_object(item):
            raise invalid(
                f"Expecting object but got list at item {i} of input list"
            )
        for key in item:
            if key not in signature.inputs:
                raise invalid(
                    f"Failed to process element: {i} of 'instances' list. "
                    "Error: INVALID_ARGUMENT: JSON object: does not have named "
                    f"input: {key}"
                )
        if item.keys() != names or required - item.keys():
            keys = ",".join(sorted(required | names))
            raise invalid(
                f"Failed to process element: {i} of 'instances' list. JSON "
                f"object: {_told(item)} keys must be equal to: {keys}"
            )
        for key, value in item.items():
            columns[key].append(value)
    return columns


def _only_input(signature, what: str) -> str:
    if len(signature.inputs) != 1:
        names = ",".join(sorted(signature.inputs))
        raise invalid(
            f"{what}, but expecting objects as multiple input tensors "
            f"required as per tensorinfo_map: {names}"
        )
    return next(iter(signature.inputs))


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() != {"b64"}


def _array(value: Any, info, where: str) -> np.ndarray:
    """An array of nested lists.

    Raises:
      Refusal: if a list is ragged or an element of another type.
    """
    dtype = tf.dtypes.as_dtype(info.dtype)
    convert = _CONVERTERS.get(dtype)
    if convert is None:
        raise Refusal(
            grpc.StatusCode.UNIMPLEMENTED,
            f"Conversion of JSON Value: {_told(value)} to type: {dtype.name}",
        )
    shape, level = [], value
    while isinstance(level, list):
        shape.append(len(level))
        if len(shape) > _MAX_RANK:
            raise invalid(f"{where}lists are nested more than {_MAX_RANK} deep")
        if not level:
            break
        level = level[0]
    flat = [value]
    try:
        for size in shape:
            for part in flat:
                if not isinstance(part, list):
                    raise invalid(
                        f"{_told(part)} found where a list of {size} was "
                        f"expected: tensors have shape {shape}"
                    )
                if len(part) != size:
                    raise invalid(
                        f"Expecting tensor size: {size} but got: {len(part)}"
                    )
            flat = [item for part in flat for item in part]
        flat = [convert(item, dtype) for item in flat]
    except Refusal as error:
        raise Refusal(error.code, where + error.message) from error
    return np.array(flat, dtype.as_numpy_dtype).reshape(shape)


def _whole(value: Any, dtype: tf.DType) -> int:
    if type(value) is not int or not dtype.min <= value <= dtype.max:
        raise _mistyped(value, dtype)
    return value


def _real(value: Any, dtype: tf.DType) -> float:
    if type(value) not in (int, float):
        raise _mistyped(value, dtype)
    try:
        return float(value)
    except OverflowError as error:
        raise _mistyped(value, dtype) from error


def _truth(value: Any, dtype: tf.DType) -> bool:
    if not isinstance(value, bool):
        raise _mistyped(value, dtype)
    return value


def _text(value: Any, dtype: tf.DType) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, dict) or value.keys() != {"b64"}:
        raise _mistyped(value, dtype)
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise invalid("Unable to base64 decode") from error


_CONVERTERS = {
    **dict.fromkeys([tf.int64, tf.int32, tf.int16, tf.int8, tf.uint8], _whole),
    **dict.fromkeys([tf.float32, tf.float64], _real),
    tf.bool: _truth,
    tf.string: _text,
}


def _mistyped(value: Any, dtype: tf.DType) -> Refusal:
    kinds = {str: "String", bool: "Bool", dict: "Object", list: "Array"}
    kind = kinds.get(type(value), "Null" if value is None else "Number")
    return invalid(
        f"JSON Value: {_told(value)} Type: {kind} is not of expected type: "
        f"{dtype.name}"
    )


def _told(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _encoded_strings(value: np.ndarray, as_base64: bool) -> Any:
    """Nested lists of strings."""

    def encoded(item: bytes) -> Any:
        if as_base64:
            return {"b64": base64.b64encode(item).decode()}
        return item.decode("utf-8", "replace")

    flat = np.empty(value.size, object)
    flat[:] = [encoded(item) for item in value.ravel()]
    return flat.reshape(value.shape).tolist()
