"""Checks nested plain values and builds dataclasses from them.

Values come as text from YAML files and `--set`, and typed from Python and JSON.
Every error names the key that is wrong.
"""

import dataclasses
import difflib
import math
import re
import sys
import typing
from typing import Any, Literal, TypeVar

from stftgan_tf.config import yaml_text
from stftgan_tf.errors import ConfigError

T = TypeVar("T")

# Decimal digits only: YAML 1.1 would read 010 as 8 and 1:30 as 90. Python does
# not convert thousands of digits.
_DIGITS = "(?:0|[1-9][0-9]{0,99})"
_INT = re.compile(rf"[-+]?{_DIGITS}")
_FLOAT = re.compile(
    rf"[-+]?(?:{_DIGITS}(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
)


def check_values(cls: type, values: Any, prefix: str = "") -> dict[str, Any]:
    """Checks keys, types and ranges of the values that are present.

    Args:
      cls: the dataclass that declares the keys.
      values: keys and values; keys may be missing.
      prefix: dotted name of the section, with a trailing dot.

    Returns:
      The values, with every number in the type that the dataclass declares.

    Raises:
      ConfigError: for an unknown key, a wrong type or a value out of range.
    """
    if not isinstance(values, dict):
        raise ConfigError(
            f"{prefix.rstrip('.') or 'config'}: expected keys and values, got "
            f"{values!r}"
        )
    hints = typing.get_type_hints(cls)
    ranges = {f.name: f.metadata.get("range") for f in dataclasses.fields(cls)}
    result = {}
    for key, value in values.items():
        if key not in hints:
            raise ConfigError(_unknown_key(prefix, key, list(hints)))
        name = f"{prefix}{key}"
        result[key] = _typed_value(hints[key], value, name)
        if ranges[key]:
            check_range(name, result[key], *ranges[key])
    return result


def construct(cls: type[T], values: dict[str, Any], prefix: str = "") -> T:
    """Builds a dataclass from values that `check_values` has checked.

    Raises:
      ConfigError: if a key that has no default is missing.
    """
    hints = typing.get_type_hints(cls)
    arguments = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        name = f"{prefix}{field.name}"
        if field.name not in values:
            if field.default is dataclasses.MISSING:
                raise ConfigError(f"{name} is missing")
        elif dataclasses.is_dataclass(hints[field.name]):
            arguments[field.name] = construct(
                hints[field.name], values[field.name], f"{name}."
            )
        else:
            arguments[field.name] = values[field.name]
    return cls(**arguments)


def parse_override(cls: type, text: str) -> dict[str, Any]:
    """Parses one `section.key=value` into nested values.

    The value is taken as typed, unless the key is a section: then it is a YAML
    mapping such as `{width: 8}`.

    Args:
      cls: the dataclass that declares the sections.
      text: the override.

    Raises:
      ConfigError: if the text does not have this form.
    """
    name, equals, value = text.partition("=")
    parts = name.strip().split(".")
    if not equals or len(parts) < 2 or not all(parts):
        raise ConfigError("expected SECTION.KEY=VALUE")
    result: Any = value
    if dataclasses.is_dataclass(_declared_type(cls, parts)):
        try:
            result = yaml_text.load(value)
        except ValueError as error:
            raise ConfigError(f"{value!r} is not YAML: {error}") from error
    for part in reversed(parts):
        result = {part: result}
    return result


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Merges nested values; those in `changes` take precedence."""
    result = dict(base)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            value = merge(base[key], value)
        result[key] = value
    return result


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raises ConfigError for a value outside [low, high]."""
    if not low <= value <= high:
        raise ConfigError(f"{name} is {value}; expected {low} to {high}")


def _declared_type(cls: Any, parts: list[str]) -> Any:
    """The type of a dotted key; None if there is no such key."""
    for part in parts:
        if not dataclasses.is_dataclass(cls):
            return None
        cls = typing.get_type_hints(cls).get(part)
    return cls


def _unknown_key(prefix: str, key: Any, known: list[str]) -> str:
    nearest = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)[0]
    return f"unknown key {prefix}{key}; did you mean {prefix}{nearest}?"


def _typed_value(hint: Any, value: Any, name: str) -> Any:
    """The value, converted to the hint's type; an int can be a float."""
    if dataclasses.is_dataclass(hint):
        return check_values(typing.cast(type, hint), value, f"{name}.")
    if typing.get_origin(hint) is Literal:
        return _choice(typing.get_args(hint), value, name)
    if hint is str:
        return _text(value, name)
    return _number(hint, value, name)


def _choice(choices: tuple[str, ...], value: Any, name: str) -> str:
    text = value.strip() if isinstance(value, str) else value
    # Python and JSON have booleans; YAML allows True for true.
    if text not in choices and str(text).lower() in choices:
        text = str(text).lower()
    if text not in choices:
        raise ConfigError(
            f"{name} is {value!r}; expected one of {', '.join(choices)}"
        )
    return text


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{name} is {value!r}; expected text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        # Python decodes other bytes of a command line as lone surrogates.
        raise ConfigError(f"{name} is {value!r}; expected UTF-8") from error
    return value


def _number(hint: type, value: Any, name: str) -> int | float:
    """The value as an int or a float, whichever `hint` is."""
    if isinstance(value, str):
        return _number_of_text(hint, value, name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int and type(value) is not int:
        raise ConfigError(f"{name} is {value!r}; expected a whole number")
    # An int can exceed what a float holds; NaN is not below anything.
    if not is_number or not abs(value) <= sys.float_info.max:
        raise ConfigError(f"{name} is {value!r}; expected a finite number")
    return hint(value)


def _number_of_text(hint: type, value: str, name: str) -> int | float:
    pattern, kind, example = (
        (_INT, "whole", "8000") if hint is int else (_FLOAT, "finite", "0.25")
    )
    text = value.strip()
    if pattern.fullmatch(text):
        number = hint(text)
        if math.isfinite(number):
            return number
    raise ConfigError(
        f"{name} is {value!r}; expected a {kind} number in decimal digits, "
        f"such as {example}"
    )
