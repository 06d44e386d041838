"""Verifies that a data set is what its manifest says.

One pass reads all shards: every shard's size and SHA-256, every record's
checksum and content, the number of windows, and the moments of the training
windows.
"""

import collections
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from pipeline import storage
from pipeline.beam import statistics
from pipeline.quality.data_set import data_config, is_in_split
from pipeline.quality.leaks import LeakSearch
from stftgan_tf import pictures
from stftgan_tf.data import records
from stftgan_tf.dsp import stft
from stftgan_tf.dsp.moments import CLIP_SIGMAS, Moments
from stftgan_tf.progress import Progress

# Windows in the picture.
_PICTURE_WINDOWS = 24

# Problems of one shard that are listed; the rest is counted.
_MAX_LISTED = 5

# Records whose moments are computed at once.
_BATCH = 256

# Moments may differ from the manifest's by this much, absolute and relative:
# they are merged in a different order, which rounds differently.
_TOLERANCE = 1e-6


class Verification:
    """One pass over a data set.

    Attributes:
      windows: some training windows [T, F] for the picture.
      leaks: the windows of both splits.
    """

    def __init__(self, root: str, manifest: dict[str, Any]):
        self._root, self._manifest = root, manifest
        self._config = data_config(manifest)
        self._moments = statistics.PartialMoments.empty(self._config.stft.bins)
        # Only of the evaluation split, which is the smaller one.
        self._held_out: set[bytes] = set()
        self._in_both: set[bytes] = set()
        self._counts: collections.Counter = collections.Counter()
        self.windows: list[np.ndarray] = []
        self.leaks = LeakSearch(manifest["windows"]["eval"])

    def problems(self) -> list[str]:
        """Reads everything; returns a description of each problem."""
        problems = [*self._check_other_files(), *self._check_names()]
        total = sum(s["bytes"] for s in self._manifest["shards"])
        progress = Progress("verify", total // 1000, "kB")
        done = 0
        shards = self._manifest["shards"]
        # The evaluation split first, with which training windows are compared.
        for shard in sorted(shards, key=lambda s: is_in_split(s, "train")):
            problems += self._check_shard(shard)
            done += shard["bytes"]
            progress.update(done // 1000)
        progress.close(done // 1000)
        # The totals of damaged shards would only repeat the problem.
        return problems or [*self._check_totals()]

    def picture(self) -> bytes:
        """Windows, moments and histograms as a PNG file."""
        moments = Moments.from_dict(self._manifest["moments"])
        sigmas = CLIP_SIGMAS * moments.std
        windows = (np.stack(self.windows) - moments.mean) / sigmas
        hz = stft.bin_hz(self._config)
        secs = self._config.window_samples / self._config.audio.sample_rate_hz
        return pictures.data_set(
            windows,
            hz,
            secs,
            self._manifest["moments"],
            self._moments.histogram,
        )

    def _check_other_files(self) -> Iterator[str]:
        """The files beside the shards."""
        try:
            path = storage.join(self._root, "schema.pbtxt")
            text_format.Parse(storage.read_text(path), schema_pb2.Schema())
        except (OSError, ValueError, text_format.ParseError) as error:
            yield f"schema.pbtxt cannot be read: {error}"
        try:
            path = storage.join(self._root, "stats.json")
            json.loads(storage.read_text(path))
        except (OSError, ValueError) as error:
            yield f"stats.json cannot be read: {error}"

    def _check_names(self) -> Iterator[str]:
        """Files that are not in the manifest; TFX would read them as shards."""
        if storage.is_remote(self._root):
            return
        known = {shard["path"] for shard in self._manifest["shards"]}
        for path in sorted(Path(self._root).glob("Split-*/*")):
            name = path.relative_to(self._root).as_posix()
            if name not in known:
                yield f"{name} is not in the manifest"

    def _check_shard(self, shard: dict[str, Any]) -> list[str]:
        name, problems = shard["path"], []
        try:
            if shard["bytes"]:
                path = storage.join(self._root, name)
                with storage.open_input(path) as file:
                    problems = self._read(file, shard)
        except OSError as error:
            return [f"{name} cannot be read: {error.strerror}"]
        listed = problems[:_MAX_LISTED]
        if len(problems) > _MAX_LISTED:
            listed.append(f"and {len(problems) - _MAX_LISTED} more")
        return [f"{name}: {problem}" for problem in listed]

    def _read(self, file: BinaryIO, shard: dict[str, Any]) -> list[str]:
        """Reads a shard; returns its problems."""
        problems, count, batch = [], 0, []
        hashed = _HashedFile(file)
        try:
            for data in records.read_records(hashed):
                try:
                    batch.append(self._check_record(data, shard))
                except ValueError as error:
                    problems.append(f"record {count}: {error}")
                count += 1
                if len(batch) == _BATCH:
                    self._add(batch, shard)
                    batch = []
        except ValueError as error:
            problems.append(f"record {count}: {error}")
        self._add(batch, shard)
        hashed.read_rest()
        if hashed.size != shard["bytes"]:
            problems.append(f"{hashed.size} bytes; expected {shard['bytes']}")
        elif hashed.hexdigest() != shard["sha256"]:
            problems.append("the SHA-256 differs from the manifest's")
        if not problems and count != shard["records"]:
            problems.append(f"{count} records; expected {shard['records']}")
        return problems

    def _check_record(self, data: bytes, shard: dict[str, Any]) -> np.ndarray:
        """Decodes a record; returns its log-magnitudes [T, F].

        Raises:
          ValueError: if its content is wrong.
        """
        record = records.decode(data)
        if set(record) != set(records.FIELDS):
            raise ValueError(
                f"has the fields {', '.join(sorted(record))}; expected "
                f"{', '.join(sorted(records.FIELDS))}"
            )
        window = self._check_window(record["window"])
        labels = len(self._manifest["labels"])
        if not records.UNKNOWN_LABEL <= record["label"] < labels:
            raise ValueError(f"label {record['label']} of {labels} labels")
        rate = self._config.audio.sample_rate_hz
        if record["sample_rate_hz"] != rate:
            raise ValueError(f"{record['sample_rate_hz']} Hz; expected {rate}")
        split = shard["path"].partition("/")[0].removeprefix("Split-")
        name = record["recording_id"]
        if split == "eval":
            self._held_out.add(name)
        elif name in self._held_out:
            self._in_both.add(name)
        self.leaks.add(split, window, name)
        self._counts[split] += 1
        return window

    def _check_window(self, values: np.ndarray) -> np.ndarray:
        shape = self._config.window_shape
        if values.size != np.prod(shape):
            raise ValueError(f"{values.size} values; expected {shape}")
        if not np.isfinite(values).all():
            raise ValueError("a value is not finite")
        floor = np.float32(self._config.log_floor)
        if values.min() < floor - 1e-4:
            raise ValueError(f"{values.min():.3f} is below the floor {floor}")
        return values.reshape(shape)

    def _add(self, batch: list[np.ndarray], shard: dict[str, Any]) -> None:
        """Adds training windows to the moments and to the picture."""
        if not batch or not is_in_split(shard, "train"):
            return
        self._moments.add(np.concatenate(batch), self._config)
        # The first windows of each batch, until there are enough.
        batches = max(1, self._manifest["windows"]["train"] // _BATCH)
        each = -(-_PICTURE_WINDOWS // min(batches, _PICTURE_WINDOWS))
        left = _PICTURE_WINDOWS - len(self.windows)
        self.windows += batch[: min(each, left)]

    def _check_totals(self) -> Iterator[str]:
        for split in records.SPLITS:
            count = self._counts[split]
            expected = self._manifest["windows"][split]
            if count != expected:
                yield f"{count} {split} windows; expected {expected}"
        for name in sorted(self._in_both)[:_MAX_LISTED]:
            yield f"recording {os.fsdecode(name)!r} is in both splits"
        moments = self._moments.to_dict()
        for name, expected in self._manifest["moments"].items():
            if not np.allclose(moments[name], expected, _TOLERANCE, _TOLERANCE):
                yield (
                    f"the {name} in the manifest's moments differs from that "
                    "of the training windows"
                )


class _HashedFile:
    """A file that hashes everything that is read from it."""

    def __init__(self, file: BinaryIO):
        self._file, self._sha256 = file, hashlib.sha256()
        self.size = 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._sha256.update(data)
        self.size += len(data)
        return data

    def read_rest(self) -> None:
        """Reads to the end."""
        while self.read(1 << 20):
            pass

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()
