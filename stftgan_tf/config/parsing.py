"""Checks nested plain values and builds dataclasses from them.

Every error names the key that is wrong.
"""

import dataclasses
import difflib
import math
import typing
from typing import Any, Literal, TypeVar

import yaml

from stftgan_tf.errors import ConfigError

T = TypeVar("T")


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


def parse_override(text: str) -> dict[str, Any]:
    """Parses one `section.key=value` into nested values.

    Raises:
      ConfigError: if the text does not have this form.
    """
    name, equals, value = text.partition("=")
    parts = name.strip().split(".")
    if not equals or len(parts) < 2 or not all(parts):
        raise ConfigError("expected SECTION.KEY=VALUE")
    try:
        # An empty value is an empty string, not YAML's null.
        result = yaml.safe_load(value) if value.strip() else ""
    except yaml.YAMLError as error:
        raise ConfigError(f"{value!r} is not a YAML value") from error
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


def _unknown_key(prefix: str, key: Any, known: list[str]) -> str:
    nearest = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)[0]
    return f"unknown key {prefix}{key}; did you mean {prefix}{nearest}?"


def _typed_value(hint: Any, value: Any, name: str) -> Any:
    """The value, converted to the hint's type; an int can be a float."""
    if dataclasses.is_dataclass(hint):
        return check_values(typing.cast(type, hint), value, f"{name}.")
    if typing.get_origin(hint) is Literal:
        return _choice(typing.get_args(hint), value, name)
    if hint is float:
        return _number(value, name)
    if type(value) is not hint:
        raise ConfigError(
            f"{name} is {value!r} ({type(value).__name__}); "
            f"expected {hint.__name__}"
        )
    return value


def _choice(choices: tuple[str, ...], value: Any, name: str) -> str:
    # YAML reads an unquoted true as a boolean.
    text = str(value).lower() if isinstance(value, bool) else value
    if text not in choices:
        raise ConfigError(
            f"{name} is {value!r}; expected one of {', '.join(choices)}"
        )
    return text


def _number(value: Any, name: str) -> float:
    # YAML 1.1 reads 2e-4, which has no dot, as text.
    number = math.nan
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except ValueError:
            pass
    if not math.isfinite(number):
        raise ConfigError(f"{name} is {value!r}; expected a finite number")
    return number
