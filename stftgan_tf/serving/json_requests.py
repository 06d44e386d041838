"""Request bodies of TensorFlow Serving's REST API.

In row format ("instances") each item is one row of all inputs; in column
format ("inputs") each input is one array. Bytes are {"b64": "..."}
(TensorFlow Serving, "RESTful API"). Most error messages are copied from
TensorFlow Serving.
"""

import codecs
import json
from typing import Any

import numpy as np
import orjson

from stftgan_tf.serving.errors import RequestError, invalid_argument
from stftgan_tf.serving.json_tensors import excerpt, to_array
from stftgan_tf.serving.model import ModelVersion, SignatureDef


def parse_body(body: bytes) -> dict[str, Any]:
    """Returns the JSON object in a body.

    Raises:
      RequestError: if the body is not a JSON object.
    """
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    try:
        # PowerShell and others begin a body with a byte order mark.
        request = _loads(body.removeprefix(codecs.BOM_UTF8))
    except json.JSONDecodeError as error:
        raise invalid_argument(
            f"JSON Parse error: {error.msg} at offset: {error.pos}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise invalid_argument(f"JSON Parse error: {error}") from error
    if not isinstance(request, dict):
        raise invalid_argument(f"JSON Value: {excerpt(request)} Is not object")
    if not isinstance(request.get("signature_name", ""), str):
        raise invalid_argument(
            f"JSON Value: {excerpt(request)} not formatted correctly. "
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
    if not signature.inputs:
        raise invalid_argument(
            f"Failed to get input map for signature: {name or 'DEFAULT'}"
        )
    if "instances" in request and "inputs" in request:
        raise invalid_argument(
            f"JSON Value: {excerpt(request)} Not formatted correctly "
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
        key: to_array(
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
    for key in signature.inputs:
        if key not in columns and key not in signature.defaults:
            raise invalid_argument(
                f"Missing named input: {key} in 'inputs' object."
            )
    # As in TensorFlow Serving, other keys are ignored.
    return {
        key: to_array(columns[key], key, info, model, f"input {key}: ")
        for key, info in signature.inputs.items()
        if key in columns
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
                f"object: {excerpt(item)} keys must be equal to: {keys}"
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
