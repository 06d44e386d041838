"""Recordings of data sets that TensorFlow Datasets (TFDS) has prepared.

`tfds:NAME[:CONFIG][:SPLIT]` must be prepared in `--tfds_data_dir`; nothing is
downloaded. The code that prepared the data set is not required. The data set
consists of TFRecord files, in which each record is one recording.
"""

import dataclasses
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.audio.tfds_records import StoredAudio, parse_example, record_path
from pipeline.sources.entries import Entry, Listing
from stftgan_tf.data import records
from stftgan_tf.errors import UserError, first_line
from stftgan_tf.progress import Progress

PREFIX = "tfds:"


def list_entries(source: str, data_dir: str | None) -> Listing:
    """Lists the recordings of a prepared data set.

    Args:
      source: `tfds:NAME[:CONFIG][:SPLIT]`.
      data_dir: directory of the prepared data sets (default: $TFDS_DATA_DIR,
        or ~/tensorflow_datasets).

    Raises:
      UserError: if there is no such data set, or it is not a speech data set.
    """
    import tensorflow_datasets as tfds

    # TFDS warns about its own use of deprecated features.
    logging.getLogger("absl").setLevel(logging.ERROR)
    # A split may have a slice, which can contain a colon.
    name, *parts = re.split(r":(?![^[]*\])", source.removeprefix(PREFIX))
    root = Path(
        data_dir
        or os.environ.get("TFDS_DATA_DIR")
        or Path.home() / "tensorflow_datasets"
    )
    directory = _version_dir(root, name, parts[:1])
    try:
        info = tfds.builder_from_directory(directory).info
    # Protobuf's parser, JSON and TFDS's assertions raise different errors.
    except Exception as error:
        raise UserError(
            f"{directory} is not a prepared data set: {first_line(error)}"
        ) from error
    # The first part may be the split of a data set without configs.
    has_config = parts and parts[0] in _configs(root / name)
    splits = _select_splits(source, parts[1:] if has_config else parts, info)
    if info.file_format.value != "tfrecord":
        raise UserError(
            f"source {source} is stored as {info.file_format.value}; "
            "expected tfrecord"
        )
    layout = _layout(source, info.features, tfds)
    features = {"label": layout.label, "speaker": layout.speaker}
    return Listing(
        _list_splits(source, splits, info, layout),
        info.name,
        unit="records",
        own_fields=frozenset(f for f, key in features.items() if key),
        has_folders=False,
    )


def _select_splits(source: str, names: list[str], info: Any) -> list[str]:
    """The splits in `names` (at most one), or all of them if there is none."""
    available = list(info.splits)
    splits = names or available
    if len(names) > 1 or splits[0].split("[")[0] not in available:
        raise UserError(
            f"source {source}: expected one of the splits "
            f"{', '.join(available)}"
        )
    return splits


def _list_splits(
    source: str, splits: list[str], info: Any, layout: "_Layout"
) -> list[Entry]:
    entries = []
    progress = Progress("list", info.splits.total_num_examples, "recordings")
    for split in splits:
        try:
            split_info = info.splits[split]
        except ValueError as error:
            raise UserError(f"source {source}: {error}") from error
        for entry in _split_entries(split_info, split, layout):
            entries.append(entry)
            progress.update(len(entries))
    return entries


@dataclasses.dataclass(frozen=True)
class _Layout:
    """The features of a data set, and how its audio is stored.

    Attributes:
      audio: the audio feature.
      label: name of the label feature; None if there is none.
      label_names: names of the label's classes; empty if they have no names.
      speaker: name of the speaker feature; None if there is none.
      speaker_names: as `label_names`.
    """

    audio: StoredAudio
    label: str | None
    label_names: list[str]
    speaker: str | None
    speaker_names: list[str]


def _layout(source: str, features: Any, tfds: Any) -> _Layout:
    def names(key: str | None) -> list[str]:
        if key not in features:
            return []
        has_names = isinstance(features[key], tfds.features.ClassLabel)
        return features[key].names if has_names else []

    speakers = [n for n in ("speaker", "speaker_id") if n in features]
    speaker = speakers[0] if speakers else None
    return _Layout(
        audio=_stored_audio(source, features, tfds),
        label="label" if "label" in features else None,
        label_names=names("label"),
        speaker=speaker,
        speaker_names=names(speaker),
    )


def _stored_audio(source: str, features: Any, tfds: Any) -> StoredAudio:
    names = [
        name
        for name, feature in features.items()
        if isinstance(feature, tfds.features.Audio)
    ]
    if len(names) != 1:
        raise UserError(
            f"source {source} has {len(names)} audio features; expected one"
        )
    feature = features[names[0]]
    description = feature.to_json_content()
    is_file = description.lazy_decode
    if not is_file and not feature.sample_rate:
        raise UserError(
            f"source {source} does not give its sample rate; expected "
            f"{names[0]} to have a sample_rate"
        )
    return StoredAudio(
        feature=names[0],
        encoding="file" if is_file else description.encoding.lower(),
        dtype=np.dtype(feature.np_dtype).name,
        channels=feature.shape[1] if len(feature.shape) > 1 else 1,
        rate_hz=feature.sample_rate or 0,
    )


def _split_entries(
    split_info: Any, split: str, layout: _Layout
) -> Iterator[Entry]:
    """The recordings of a split, in the order of its files."""
    for instruction in split_info.file_instructions:
        file = str(instruction.filename)
        start, stop = instruction.skip, instruction.skip + instruction.take
        count = 0
        for index, (offset, data) in enumerate(_read_records(file)):
            count += 1
            if not start <= index < stop:
                continue
            example = parse_example(data)
            yield Entry(
                path=record_path(file, offset, len(data), layout.audio),
                name=f"{split.split('[')[0]}/{Path(file).name}/{index:06d}",
                label=_text(example, layout.label, layout.label_names),
                speaker=_text(example, layout.speaker, layout.speaker_names),
            )
        if count < stop:
            raise UserError(
                f"{file} is truncated: it contains {count} recordings; "
                f"expected {stop}"
            )


def _read_records(file: str) -> Iterator[tuple[int, bytes]]:
    """(offset, data) of the records of a TFRecord file."""
    with open(file, "rb") as stream:
        try:
            for data in records.read_records(stream):
                # A checksum of four bytes follows the data.
                yield stream.tell() - 4 - len(data), data
        except ValueError as error:
            raise UserError(
                f"{file} is truncated or damaged: invalid record: {error}"
            ) from error


def _text(example: Any, key: str | None, names: list[str]) -> str | None:
    """A feature's value as text: the name of a class if it has names."""
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
    # -1 means unknown.
    return names[number] if number >= 0 else None


def _version_dir(root: Path, name: str, parts: list[str]) -> Path:
    """The directory of a prepared data set's newest version.

    Args:
      root: directory of the prepared data sets.
      name: name of the data set.
      parts: the next part of the source, which may name the config.
    """
    base, configs = root / name, _configs(root / name)
    if configs:
        if parts and parts[0] in configs:
            base = base / parts[0]
        elif len(configs) == 1:
            base = base / configs[0]
        else:
            raise UserError(
                f"source tfds:{name} has the configs {', '.join(configs)}; "
                f"choose one, such as tfds:{name}:{configs[0]}"
            )
    versions = _versions(base)
    if not versions:
        raise UserError(
            f"source tfds:{name} is not prepared in {root}; prepare it there "
            f"(tfds build {name}), or set --tfds_data_dir"
        )
    return versions[-1]


def _configs(directory: Path) -> list[str]:
    """The configs of a prepared data set; empty if it has none.

    A data set without configs has its versions directly in its directory.
    """
    if not directory.is_dir():
        return []
    return [
        path.name
        for path in directory.iterdir()
        if path.is_dir() and _versions(path)
    ]


def _versions(directory: Path) -> list[Path]:
    """Directories of the prepared versions, the newest last."""
    infos = directory.glob("*/dataset_info.json")
    return sorted((path.parent for path in infos), key=_version_numbers)


def _version_numbers(path: Path) -> list[int]:
    return [int(part) for part in path.name.split(".") if part.isdigit()]
