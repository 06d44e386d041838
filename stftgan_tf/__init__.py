"""A light WGAN on STFT windows of speech.

The names in `__all__` are the public Python API (docs/python-api.md). They load
on first use, so that importing the package is fast.
"""

import importlib
import os
from typing import Any

# TensorFlow reads this on import. Without it every command on a machine
# without a GPU starts with a page of CUDA warnings.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__all__ = [
    "build",
    "evaluate",
    "export",
    "load_config",
    "load_model",
    "load_run",
    "open_dataset",
    "preprocess",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # The modules of these commands are callable.
    if name in ("evaluate", "export", "train"):
        return importlib.import_module(f"{__name__}.{name}")
    return getattr(importlib.import_module(f"{__name__}.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
