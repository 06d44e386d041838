"""The record schema: one flat `tf.train.Example` per window, in TFRecord files.

The pipeline writes records and `dataset.py` reads them. Writing needs neither
TensorFlow nor protobuf: this module encodes the few fields of the Example
message (tensorflow/core/example/feature.proto) and the framing of TFRecord
(tensorflow/core/lib/io/record_writer.h) itself, byte for byte as TensorFlow.
"""

import functools
import hashlib
import json
import math
import re
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import google_crc32c
import numpy as np

from stftgan_tf.files import DirectoryKind

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
SPLITS = ("train", "eval")
# The files of a data set. `evaluate` adds its classifier, which earlier
# versions named `judge`, and `benchmarks/heard.py` adds another one.
DATA_SET = DirectoryKind(
    MANIFEST,
    (
        MANIFEST,
        "schema.pbtxt",
        "stats.json",
        "dead_letters.jsonl",
        "Split-*/data_tfrecord-*",
        "classifier-*.npz",
        "heard-*.npz",
        "judge-*.npz",
    ),
    '"format_version"',
)
# Stands for the label of a recording that has none.
UNKNOWN_LABEL = -1

# Name -> type of the feature. `window` is the log-magnitude [T, F], row by row.
FIELDS = {
    "window": "float",
    "window_index": "int64",
    "label": "int64",
    "sample_rate_hz": "int64",
    "recording_id": "bytes",
    "speaker": "bytes",
    "dataset": "bytes",
}

# Required keys of a manifest with their types, and the keys required in them.
_MANIFEST_KEYS = {
    "clipped_share": float,
    "config": dict,
    "config_hash": str,
    "dead_letters": int,
    "hours": dict,
    "labels": list,
    "moments": dict,
    "recordings": int,
    "shards": list,
    "silent_windows": int,
    "versions": dict,
    "windows": dict,
}
_INNER_KEYS = {
    "hours": SPLITS,
    "moments": ("mean", "std"),
    "windows": SPLITS,
}
_SHARD_KEYS = {"path", "records", "bytes", "sha256"}
_SHARD_PATH = re.compile(r"Split-[a-z]+/[^/\0]+")

# Field numbers in the `oneof` of the Feature message.
_KIND_FIELD = {"bytes": 1, "float": 2, "int64": 3}


def shard_name(split: str, index: int, count: int) -> str:
    """Path of a shard relative to its data set, as TFX names it."""
    return f"Split-{split}/data_tfrecord-{index:05d}-of-{count:05d}"


def parse_manifest(data: bytes) -> dict[str, Any]:
    """Parses and checks the content of manifest.json.

    Raises:
      ValueError: describes what is wrong; to be prefixed with the path.
    """
    try:
        manifest = json.loads(data.decode())
    except (RecursionError, ValueError) as error:
        raise ValueError(f"is not JSON: {error}") from error
    is_dict = isinstance(manifest, dict)
    version = manifest.get("format_version") if is_dict else None
    if version != FORMAT_VERSION:
        raise ValueError(
            f"has format version {version}; expected {FORMAT_VERSION}: run "
            "preprocess again"
        )
    for name, kind in _MANIFEST_KEYS.items():
        value = manifest.get(name)
        inner = _INNER_KEYS.get(name, ())
        if not isinstance(value, kind) or any(k not in value for k in inner):
            raise ValueError(f"is damaged: {name} is missing or malformed")
    _check_inner_values(manifest)
    for shard in manifest["shards"]:
        _check_shard(shard)
    return manifest


def _check_inner_values(manifest: dict[str, Any]) -> None:
    """Raises ValueError for values of the wrong type or out of range."""
    moments = [manifest["moments"][name] for name in ("mean", "std")]
    valid = {
        "config": all(isinstance(s, dict) for s in manifest["config"].values()),
        "labels": all(isinstance(name, str) for name in manifest["labels"]),
        "windows": all(_is_count(manifest["windows"][s]) for s in SPLITS),
        "hours": all(_is_finite(manifest["hours"][s]) for s in SPLITS),
        "moments": all(isinstance(values, list) for values in moments)
        and len(moments[0]) == len(moments[1])
        and all(_is_finite(value) for values in moments for value in values),
    }
    wrong = [name for name, is_valid in valid.items() if not is_valid]
    if wrong:
        raise ValueError(f"is damaged: {wrong[0]} is missing or malformed")


def _check_shard(shard: Any) -> None:
    keys = set(shard) if isinstance(shard, dict) else set()
    if not _SHARD_KEYS <= keys:
        raise ValueError(
            f"is damaged: shard {shard} lacks one of "
            f"{', '.join(sorted(_SHARD_KEYS))}"
        )
    texts, counts = ("path", "sha256"), ("records", "bytes")
    if not (
        all(isinstance(shard[name], str) for name in texts)
        and _SHARD_PATH.fullmatch(shard["path"])
        and all(_is_count(shard[name]) for name in counts)
    ):
        raise ValueError(f"is damaged: shard {shard} is malformed")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def encode(record: dict[str, Any]) -> bytes:
    """Encodes a record as a `tf.train.Example`, with sorted keys.

    Args:
      record: a value for each of `FIELDS`: a float32 array for `window`, an
        int for an int64 field and bytes for a bytes field.

    Raises:
      KeyError: if a field is missing.
    """
    parts: list[Any] = []
    for name in sorted(FIELDS):
        if FIELDS[name] == "float":
            values = np.ascontiguousarray(record[name], "<f4")
            parts += [_float_head(name, values.nbytes), values.data.cast("B")]
        else:
            parts.append(_small_entry(name, record[name]))
    size = sum(map(len, parts))
    # The only copy of a window, which is large.
    return b"".join([_head(1, size), *parts])


def decode(data: bytes) -> dict[str, Any]:
    """Decodes a record; the inverse of `encode`.

    Returns:
      A value for each field that is present: a float32 array [size], an int
      or bytes.

    Raises:
      ValueError: if the bytes are not a `tf.train.Example`, or if a field
        other than `window` has several values.
    """
    # TFDS contains a copy of the message that does not need TensorFlow.
    from google.protobuf.message import DecodeError
    from tensorflow_datasets.proto import tf_example_pb2

    try:
        features = tf_example_pb2.Example.FromString(data).features.feature
    except DecodeError as error:
        raise ValueError(f"not a tf.train.Example: {error}") from error
    record = {}
    for name, feature in features.items():
        kind = FIELDS.get(name)
        if kind == "float":
            record[name] = _floats(feature.float_list)
            continue
        values = getattr(feature, f"{kind}_list").value if kind else []
        if len(values) == 1:
            record[name] = values[0]
        else:
            raise ValueError(f"{name} has {len(values)} values; expected one")
    return record


def _floats(message: Any) -> np.ndarray:
    """The values of a FloatList, float32 [size]."""
    # Many times faster than a loop over the values: they end the message,
    # packed, unless it has other fields.
    size, data = 4 * len(message.value), message.SerializeToString()
    head = _head(1, size) if size else b""
    if len(data) != len(head) + size or not data.startswith(head):
        return np.array(message.value, np.float32)
    return np.frombuffer(data, "<f4", offset=len(head)).astype(np.float32)


def read_records(file: Any) -> Iterator[bytes]:
    """Yields the records of a TFRecord file that `ShardWriter` wrote.

    Raises:
      ValueError: if a checksum is wrong or the file ends within a record.
    """
    while header := file.read(12):
        if len(header) < 12 or _masked_crc(header[:8]) != header[8:]:
            raise ValueError("its length is damaged")
        size = struct.unpack("<Q", header[:8])[0]
        data, crc = file.read(size), file.read(4)
        if len(data) < size or len(crc) < 4:
            raise ValueError("the file ends within it")
        if _masked_crc(data) != crc:
            raise ValueError("its checksum is wrong")
        yield data


class ShardWriter:
    """Writes records to a TFRecord file and hashes it at the same time.

    Attributes:
      records: number of records written so far.
      bytes: number of bytes written so far.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self._sha256 = hashlib.sha256()
        self.records = 0
        self.bytes = 0

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of all bytes written so far."""
        return self._sha256.hexdigest()

    def write(self, data: bytes) -> None:
        """Appends one record."""
        length = struct.pack("<Q", len(data))
        for part in (length + _masked_crc(length), data, _masked_crc(data)):
            self._file.write(part)
            self._sha256.update(part)
            self.bytes += len(part)
        self.records += 1


def _masked_crc(data: bytes) -> bytes:
    """CRC-32C, rotated and offset as TFRecord stores it."""
    crc = google_crc32c.value(data)
    rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)


# Cached, because the windows of a recording share most of their fields.
@functools.lru_cache(maxsize=4096)
def _small_entry(name: str, value: Any) -> bytes:
    """Encodes a field with one value, as an entry of the map in Features."""
    kind = FIELDS[name]
    item = _varint(int(value)) if kind == "int64" else value
    items = _head(1, len(item)) + item
    return _entry_head(name, len(items)) + items


@functools.lru_cache(maxsize=64)
def _float_head(name: str, size: int) -> bytes:
    """Encodes what precedes the `size` bytes of a field of floats."""
    head = _head(1, size)
    return _entry_head(name, len(head) + size) + head


def _entry_head(name: str, size: int) -> bytes:
    """Encodes what precedes the values of a field, which take `size` bytes."""
    key = _head(1, len(name)) + name.encode()
    feature = _head(_KIND_FIELD[FIELDS[name]], size)
    value = _head(2, len(feature) + size)
    return (
        _head(1, len(key) + len(value) + len(feature) + size)
        + key
        + value
        + feature
    )


def _head(field: int, size: int) -> bytes:
    """Encodes the head of a length-delimited protobuf field (wire type 2)."""
    return _varint(field << 3 | 2) + _varint(size)


def _varint(value: int) -> bytes:
    """Encodes a base-128 varint; negative numbers as two's complement."""
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
