"""Response bodies of TensorFlow Serving's REST API.

In row format ("predictions") each item is one row of all outputs; in column
format ("outputs") each output is one array. Bytes are {"b64": "..."} for
outputs whose name ends in _bytes (TensorFlow Serving, "RESTful API").
"""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from stftgan_tf.serving.errors import invalid_argument


def predictions_body(
    outputs: Mapping[str, np.ndarray], row_format: bool
) -> bytes:
    """Returns the body of a prediction.

    Raises:
      RequestError: if row format is requested and the outputs differ in
        their number of rows, or an output has a type that JSON lacks.
    """
    columns = {name: _column(name, value) for name, value in outputs.items()}
    if row_format:
        shapes = {name: value.shape for name, value in outputs.items()}
        return to_json({"predictions": _rows(columns, shapes)})
    content = {name: _encodable(value) for name, value in columns.items()}
    if len(content) == 1:
        return to_json({"outputs": next(iter(content.values()))})
    return to_json({"outputs": content})


def error_body(message: str) -> bytes:
    """Returns the body of an error."""
    # A request can contain a lone surrogate, which UTF-8 cannot encode.
    return to_json({"error": message.encode("utf-8", "replace").decode()})


def to_json(value: Any) -> bytes:
    """Encodes a value that may contain NumPy arrays."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def _encodable(value: Any) -> Any:
    """A value that orjson encodes exactly.

    For NaN and infinities orjson writes null, and TensorFlow Serving NaN,
    Infinity and -Infinity.
    """
    if not isinstance(value, (np.ndarray, np.generic)):
        return value
    # orjson knows NumPy's scalars, and no arrays of rank 0.
    value = np.ascontiguousarray(value) if value.ndim else value[()]
    if not np.issubdtype(value.dtype, np.floating) or np.isfinite(value).all():
        return value
    others = iter(np.extract(~np.isfinite(value), value).tolist())
    return orjson.Fragment(
        re.sub(
            b"null", lambda _: json.dumps(next(others)).encode(), to_json(value)
        )
    )


def _column(name: str, value: np.ndarray) -> Any:
    """A value without strings, which depend on the name of the output."""
    if value.dtype == object:
        return _strings(value, name.endswith("_bytes"))
    # Booleans, integers and floating-point numbers.
    if value.dtype.kind not in "biuf":
        raise invalid_argument(
            f"Failed to write JSON value for tensor type: {value.dtype.name}"
        )
    return value


def _rows(columns: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> Any:
    rows = [
        {name: _encodable(column[i]) for name, column in columns.items()}
        for i in range(_row_count(shapes))
    ]
    if len(columns) == 1:
        return [next(iter(row.values())) for row in rows]
    return rows


def _row_count(shapes: dict[str, tuple[int, ...]]) -> int:
    """The number of rows, which all outputs must have."""
    count, hint = None, "; send 'inputs' instead of 'instances'"
    for name, shape in shapes.items():
        if not shape:
            raise invalid_argument(
                f"Tensor name: {name} has no shape information{hint}"
            )
        if count not in (None, shape[0]):
            raise invalid_argument(
                f"Tensor name: {name} has inconsistent batch size: {shape[0]} "
                f"expecting: {count}{hint}"
            )
        count = shape[0]
    return count or 0


def _strings(value: np.ndarray, as_base64: bool) -> Any:
    """Nested lists of strings."""

    def encode(item: bytes) -> Any:
        if as_base64:
            return {"b64": base64.b64encode(item).decode()}
        return item.decode("utf-8", "replace")

    flat = np.empty(value.size, object)
    flat[:] = [encode(item) for item in value.ravel()]
    return flat.reshape(value.shape).tolist()
