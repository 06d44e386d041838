"""Reads the cases, and compares answers with those that a case expects."""

from pathlib import Path
from typing import Any

import pytest
import yaml

OURS, REAL = "this project", "TensorFlow Serving"


def read(file: str) -> list[Any]:
    """The cases of a file, as parameters of a test."""
    text = Path(__file__).with_name(file).read_text(encoding="utf-8")
    return [
        pytest.param(case, id=case["name"]) for case in yaml.safe_load(text)
    ]


def expected(case: dict[str, Any], server: str) -> dict[str, Any]:
    """What a server should answer: code, answer, contains, error."""
    differs = case.get("differs")
    if server == OURS or not differs:
        return case
    if differs.get("skip"):
        pytest.skip(differs["skip"])
    return differs


def contains(value: Any, part: Any) -> bool:
    """Whether a JSON value has all keys and values of another one."""
    if isinstance(part, dict):
        return isinstance(value, dict) and all(
            key in value and contains(value[key], part[key]) for key in part
        )
    return value == part
