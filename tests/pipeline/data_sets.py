"""Functions that read data sets, for tests."""

import hashlib
import json

from stftgan_tf.data import records


def digests(directory):
    """SHA-256 of every file, by relative path."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def manifest_of(directory):
    return json.loads((directory / "manifest.json").read_text())


def dead_letters(directory):
    """The reason of each dead letter, by path."""
    lines = (directory / "dead_letters.jsonl").read_text().splitlines()
    return {d["path"]: d["reason"] for d in map(json.loads, lines)}


def read(directory, split):
    """All decoded records of a split."""
    decoded = []
    for path in sorted((directory / f"Split-{split}").iterdir()):
        with open(path, "rb") as file:
            decoded += map(records.decode, records.read_records(file))
    return decoded
