"""Recordings of data sets that TensorFlow Datasets has prepared on this disk.

`tfds:NAME[:CONFIG][:SPLIT]` is found below `--tfds_data_dir`; nothing is
downloaded, and the code that prepared the set is not needed. The set's files
are TFRecord, and a recording is one record: its path tells where it lies and
how its audio is stored, so that workers read it without TensorFlow.
"""

import dataclasses
import logging
import os
import re
import urllib.parse
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stftgan_tf.data import records as example_io
from stftgan_tf.errors import UserError, first_line
from stftgan_tf.progress import Progress

PREFIX = "tfds:"
_SCHEME = "tfrecord:"


@dataclasses.dataclass(frozen=True)
class Row:
    """A recording as it is listed: where, called what, of what and whom."""

    path: str
    name: str
    label: str | None
    speaker: str | None


@dataclasses.dataclass(frozen=True)
class Record:
    """A recording's audio.

    Attributes:
      encoded: the bytes of an audio file where the set decodes lazily.
      samples: integers or floats [N] or [N, C] where it does not.
      rate_hz: of the samples.
    """

    encoded: bytes | None
    samples: np.ndarray | None
    rate_hz: int


def is_record(path: str) -> bool:
    """Whether a recording's path is one that `rows` made."""
    return path.startswith(_SCHEME)


def read(path: str) -> Record:
    """The audio of a recording.

    Raises:
      OSError: if the record cannot be read.
    """
    file, _, query = path.removeprefix(_SCHEME).partition("?")
    where = dict(urllib.parse.parse_qsl(query))
    with open(urllib.parse.unquote(file), "rb") as stream:
        stream.seek(int(where["offset"]))
        data = stream.read(int(where["bytes"]))
    try:
        feature = _example(data)[where["audio"]]
    except Exception as error:
        raise OSError(0, f"damaged record: {error}", file) from error
    rate_hz = int(where["rate"])
    if where["stored"] == "file":
        return Record(feature.bytes_list.value[0], None, rate_hz)
    samples = _samples(feature, where["stored"], where["dtype"])
    return Record(None, samples.reshape(-1, int(where["channels"])), rate_hz)


def rows(source: str, data_dir: str | None) -> tuple[list[Row], str]:
    """The recordings of `tfds:NAME[:CONFIG][:SPLIT]` and the set's name.

    Raises:
      UserError: if there is no such set, or it is none of speech.
    """
    import tensorflow_datasets as tfds

    # It warns of its own use of its own features.
    logging.getLogger("absl").setLevel(logging.ERROR)
    # A split may have a slice, with a colon of its own.
    name, *more = re.split(r":(?![^[]*\])", source.removeprefix(PREFIX))
    root = Path(
        data_dir
        or os.environ.get("TFDS_DATA_DIR")
        or Path.home() / "tensorflow_datasets"
    )
    folder = _folder(root, name, more[:1])
    try:
        builder = tfds.builder_from_directory(folder)
    # Of protobuf's parser, of JSON, of what TFDS asserts.
    except Exception as error:
        raise UserError(
            f"{folder} is no prepared data set: {first_line(error)}"
        ) from error
    info, splits = builder.info, list(builder.info.splits)
    # The second part may be the split of a set without configs.
    asked = more[1:] if more and more[0] in _configs(root / name) else more
    wanted = asked or splits
    if len(asked) > 1 or wanted[0].split("[")[0] not in splits:
        raise UserError(
            f"source {source}: expected one of the splits {', '.join(splits)}"
        )
    if info.file_format.value != "tfrecord":
        raise UserError(
            f"source {source} is stored as {info.file_format.value}; "
            "expected tfrecord"
        )
    layout = _layout(source, info.features, tfds)
    found = []
    progress = Progress("list", info.splits.total_num_examples, "recordings")
    for split in wanted:
        try:
            part = info.splits[split]
        except ValueError as error:
            raise UserError(f"source {source}: {error}") from error
        for row in _split_rows(part, split, layout):
            found.append(row)
            progress.update(len(found))
    return found, info.name


@dataclasses.dataclass(frozen=True)
class _Layout:
    """Which feature is what, and how the audio is stored."""

    audio: str
    stored: str
    dtype: str
    channels: int
    rate_hz: int
    label: str | None
    label_names: list[str]
    speaker: str | None
    speaker_names: list[str]


def _layout(source: str, features: Any, tfds: Any) -> _Layout:
    audio = [
        name
        for name, feature in features.items()
        if isinstance(feature, tfds.features.Audio)
    ]
    if len(audio) != 1:
        raise UserError(
            f"source {source} has {len(audio)} audio features; expected one"
        )
    feature = features[audio[0]]
    told = feature.to_json_content()
    stored = "file" if told.lazy_decode else told.encoding.lower()
    if stored != "file" and not feature.sample_rate:
        raise UserError(
            f"source {source} does not tell its sample rate; expected "
            f"{audio[0]} to have a sample_rate"
        )

    def names(key: str) -> list[str]:
        if key not in features:
            return []
        named = isinstance(features[key], tfds.features.ClassLabel)
        return features[key].names if named else []

    speakers = [n for n in ("speaker", "speaker_id") if n in features]
    speaker = speakers[0] if speakers else None
    return _Layout(
        audio=audio[0],
        stored=stored,
        dtype=np.dtype(feature.np_dtype).name,
        channels=feature.shape[1] if len(feature.shape) > 1 else 1,
        rate_hz=feature.sample_rate or 0,
        label="label" if "label" in features else None,
        label_names=names("label"),
        speaker=speaker,
        speaker_names=names(speaker) if speaker else [],
    )


def _split_rows(info: Any, split: str, layout: _Layout) -> Iterator[Row]:
    """The recordings of a split, in the order of its files."""
    for instruction in info.file_instructions:
        file = str(instruction.filename)
        stop, records = instruction.skip + instruction.take, 0
        for index, (offset, data) in enumerate(_records(file)):
            records += 1
            if not instruction.skip <= index < stop:
                continue
            example = _example(data)
            label = _named(example, layout.label, layout.label_names)
            yield Row(
                path=_path(file, offset, len(data), layout),
                name=f"{split.split('[')[0]}/{Path(file).name}/{index:06d}",
                label=label,
                speaker=_named(example, layout.speaker, layout.speaker_names),
            )
        if records < stop:
            raise UserError(
                f"{file} holds {records} recordings; expected {stop}: it is "
                "truncated"
            )


def _records(file: str) -> Iterator[tuple[int, bytes]]:
    """(offset, data) of the records of a TFRecord file."""
    with open(file, "rb") as stream:
        try:
            for data in example_io.read_records(stream):
                # Four bytes of checksum come after the data.
                yield stream.tell() - 4 - len(data), data
        except ValueError as error:
            raise UserError(
                f"{file} is truncated or damaged: of a record, {error}"
            ) from error


def _path(file: str, offset: int, size: int, layout: _Layout) -> str:
    query = urllib.parse.urlencode(
        {
            "offset": offset,
            "bytes": size,
            "audio": layout.audio,
            "stored": layout.stored,
            "dtype": layout.dtype,
            "channels": layout.channels,
            "rate": layout.rate_hz,
        }
    )
    return f"{_SCHEME}{urllib.parse.quote(file)}?{query}"


def _example(data: bytes) -> Any:
    """The features of a serialised `tf.train.Example`, by name."""
    # TFDS' own copy of the message, which needs no TensorFlow.
    from tensorflow_datasets.proto import tf_example_pb2

    return tf_example_pb2.Example.FromString(data).features.feature


def _named(example: Any, key: str | None, names: list[str]) -> str | None:
    """A feature's value as text: the name of a class, if it has names."""
    if key is None or key not in example:
        return None
    feature = example[key]
    if feature.bytes_list.value:
        return feature.bytes_list.value[0].decode("utf-8", "replace")
    if not feature.int64_list.value:
        return None
    number = feature.int64_list.value[0]
    if not names:
        return str(number)
    # -1 stands for none.
    return names[number] if number >= 0 else None


def _samples(feature: Any, stored: str, dtype: str) -> np.ndarray:
    if stored in ("bytes", "zlib"):
        data = feature.bytes_list.value[0]
        data = zlib.decompress(data) if stored == "zlib" else data
        samples = np.frombuffer(data, dtype)
    else:
        lists = feature.float_list.value or feature.int64_list.value
        samples = np.array(lists, dtype)
    if samples.dtype != np.int64:
        return samples
    # TFDS decodes to the file's own width: 16 bits, or 32 (also for 24).
    wide = len(samples) and np.abs(samples).max() > 1 << 15
    return samples.astype(np.int32 if wide else np.int16)


def _configs(root: Path) -> list[str]:
    """Configs of a prepared set; those without have versions at once."""
    if not root.is_dir():
        return []
    return [p.name for p in root.iterdir() if p.is_dir() and _versions(p)]


def _versions(root: Path) -> list[Path]:
    """Prepared versions, the newest last."""
    found = [p.parent for p in root.glob("*/dataset_info.json")]
    return sorted(found, key=_version)


def _version(path: Path) -> list[int]:
    return [int(part) for part in path.name.split(".") if part.isdigit()]


def _folder(root: Path, name: str, more: list[str]) -> Path:
    """Where the newest version of a prepared set lies."""
    base, configs = root / name, _configs(root / name)
    if configs:
        if more and more[0] in configs:
            base = base / more[0]
        elif len(configs) == 1:
            base = base / configs[0]
        else:
            raise UserError(
                f"source tfds:{name} has the configs {', '.join(configs)}; "
                f"name one: tfds:{name}:{configs[0]}"
            )
    versions = _versions(base)
    if not versions:
        raise UserError(
            f"source tfds:{name} is not prepared below {root}; prepare it "
            f"there (tfds build {name}), or give --tfds_data_dir"
        )
    return versions[-1]
