"""The directories of a model's versions."""

import contextlib
from pathlib import Path

from stftgan_tf.errors import tensorflow_reason
from stftgan_tf.serving.options import is_export


def is_version(name: str) -> bool:
    """Whether a name is a version number, which is an int64 in requests."""
    # Python refuses to convert strings of thousands of digits.
    digits = name.isascii() and name.isdigit() and len(name) < 100
    return digits and int(name) < 2**63


def version_directories(base_path: Path) -> dict[int, Path]:
    """Directories by version; an export itself is version 1."""
    if is_export(base_path):
        return {1: base_path}
    return {
        int(path.name): path
        for path in base_path.iterdir()
        if is_version(path.name) and path.is_dir()
    }


def list_files(directory: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and modification times of all files."""
    files = []
    for path in sorted(directory.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            stat = path.stat()
            files.append((str(path), stat.st_size, stat.st_mtime_ns))
    return files


def load_failure(error: Exception) -> str:
    """One line about a version that cannot be loaded.

    TensorFlow's own message about damaged weights does not mention them.
    """
    text = str(error)
    reason = tensorflow_reason(text) if text else type(error).__name__
    if any(word in text for word in ("RestoreV2", "variables/variables")):
        return f"the weights in variables/ are damaged or missing: {reason}"
    return reason
