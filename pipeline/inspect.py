"""Shows a data set, and says whether all of it is what its manifest says.

Every shard's checksum, every record's and every record's content are verified.
A picture shows windows, the moments of each bin and their histograms.
"""

import argparse
import collections
import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from pipeline import storage
from pipeline.beam import statistics
from stftgan_tf import cli, pictures
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.data import records as example_io
from stftgan_tf.data.records import FIELDS, MANIFEST, UNKNOWN_LABEL
from stftgan_tf.dsp import stft
from stftgan_tf.dsp.moments import CLIP_SIGMAS, Moments
from stftgan_tf.errors import UserError
from stftgan_tf.files import write_atomically
from stftgan_tf.progress import Progress

EXAMPLE = "python -m pipeline.inspect tfrecords/digits --picture digits.png"

# Windows in the picture.
_SHOWN = 24
# Problems that are told of one shard; the rest is counted.
_TOLD = 5
# Records whose moments are taken at once.
_BATCH = 256
# How far moments may lie from the manifest's; another order of merging rounds
# otherwise.
_TOLERANCE = 1e-6


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    return cli.run_command(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    parser.add_argument("data", help="the data set, here or remote")
    parser.add_argument(
        "--picture",
        type=cli.local_path,
        help="where the picture goes (default: <name of the data set>.png)",
    )
    return parser


def _run(args: argparse.Namespace) -> int:
    manifest = read_manifest(args.data)
    print(summary(manifest))
    check = Check(args.data, manifest)
    problems = check.problems()
    if check.shown:
        name = args.data.rstrip("/").rpartition("/")[2] or "data"
        picture = args.picture or Path(f"{name}.png")
        write_atomically(picture, check.picture())
        print(picture)
    for problem in problems:
        print(f"problem: {problem}", file=sys.stderr)
    if problems:
        raise UserError(
            f"{args.data} is damaged ({len(problems)} problems); run "
            "preprocess again"
        )
    print("every checksum and every record is right")
    return 0


def summary(manifest: dict[str, Any]) -> str:
    """A manifest as a few lines to read."""
    windows, hours = manifest["windows"], manifest["hours"]
    # Which those of the first version lack.
    duplicates = manifest.get("duplicates", 0)
    lines = [
        f"format version   {manifest['format_version']}",
        f"config hash      {manifest['config_hash']}",
        f"recordings       {manifest['recordings']}, of which "
        f"{manifest['dead_letters']} unusable; {duplicates} more "
        "names of the same files",
        f"silent windows   {manifest['silent_windows']} dropped",
        f"beyond 3 sigma   {100 * manifest['clipped_share']:.3f} % of values",
        f"labels           {', '.join(manifest['labels']) or 'none'}",
    ]
    for split in example_io.SPLITS:
        shards = [s for s in manifest["shards"] if _is_of(s, split)]
        size = sum(shard["bytes"] for shard in shards) / 1e6
        lines.append(
            f"{split:16s} {windows[split]} windows, {hours[split]:.3f} hours, "
            f"{len(shards)} shards, {size:.1f} MB"
        )
    for section, values in manifest["config"].items():
        told = ", ".join(f"{key} {value!r}" for key, value in values.items())
        lines.append(f"{section:16s} {told}")
    told = ", ".join(f"{k} {v}" for k, v in manifest["versions"].items())
    lines.append(f"{'made with':16s} {told}")
    return "\n".join(lines)


def read_manifest(root: str) -> dict[str, Any]:
    """A data set's manifest.

    Raises:
      UserError: if there is none that can be read.
    """
    storage.use_environment(root)
    path = storage.join(root, MANIFEST)
    if not storage.exists(path):
        raise UserError(f"{root} holds no data set (no {MANIFEST})")
    try:
        with storage.open_input(path) as file:
            return example_io.parse_manifest(file.read())
    except ValueError as error:
        raise UserError(f"{path} {error}") from error


def _is_of(shard: dict[str, Any], split: str) -> bool:
    return shard["path"].startswith(f"Split-{split}/")


class Check:
    """One pass over a data set, and what it found.

    Attributes:
      shown: training windows [T, F] for the picture.
    """

    def __init__(self, root: str, manifest: dict[str, Any]):
        self._root, self._manifest = root, manifest
        # Networks have no say here: a window may be one frame.
        values = {**manifest["config"], "model": {"num_downsamples": 0}}
        self._config: Config = config_lib.from_dict(values)
        self._moments = statistics.PartialMoments.empty(self._config.stft.bins)
        self._splits: dict[str, set[bytes]] = collections.defaultdict(set)
        self._counts: collections.Counter = collections.Counter()
        self.shown: list[np.ndarray] = []

    def problems(self) -> list[str]:
        """All that is wrong, in words."""
        found = [*self._check_beside(), *self._check_names()]
        total = sum(s["bytes"] for s in self._manifest["shards"])
        progress = Progress("verify", total // 1000, "kB")
        done = 0
        for shard in self._manifest["shards"]:
            found += self._check_shard(shard)
            done += shard["bytes"]
            progress.update(done // 1000)
        progress.close(done // 1000)
        # What is damaged cannot agree with the manifest.
        return found or [*self._check_whole()]

    def picture(self) -> bytes:
        """Windows, moments and histograms as a PNG file."""
        moments = Moments.from_dict(self._manifest["moments"])
        sigmas = CLIP_SIGMAS * moments.std
        windows = (np.stack(self.shown) - moments.mean) / sigmas
        hz = stft.bin_hz(self._config)
        return pictures.data_set(
            windows, hz, self._manifest["moments"], self._moments.histogram
        )

    def _check_beside(self) -> Iterator[str]:
        """The files that are no shards."""
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
        """Files that the manifest does not know would be read by others."""
        if storage.is_remote(self._root):
            return
        known = {shard["path"] for shard in self._manifest["shards"]}
        for path in sorted(Path(self._root).glob("Split-*/*")):
            name = path.relative_to(self._root).as_posix()
            if name not in known:
                yield f"{name} is not in the manifest"

    def _check_shard(self, shard: dict[str, Any]) -> list[str]:
        name, told = shard["path"], []
        try:
            if shard["bytes"]:
                path = storage.join(self._root, name)
                with storage.open_input(path) as file:
                    told = self._read(file, shard)
        except OSError as error:
            return [f"{name} cannot be read: {error.strerror}"]
        more = [f"and {len(told) - _TOLD} more"] if len(told) > _TOLD else []
        return [f"{name}: {text}" for text in told[:_TOLD] + more]

    def _read(self, file: BinaryIO, shard: dict[str, Any]) -> list[str]:
        """What is wrong with a shard."""
        told, records, batch = [], 0, []
        hashed = _Hashed(file)
        try:
            for data in example_io.read_records(hashed):
                try:
                    batch.append(self._check_record(data, shard))
                except ValueError as error:
                    told.append(f"record {records}: {error}")
                records += 1
                if len(batch) == _BATCH:
                    self._add(batch, shard)
                    batch = []
        except ValueError as error:
            told.append(f"record {records}: {error}")
        self._add(batch, shard)
        hashed.finish()
        if hashed.size != shard["bytes"]:
            told.append(f"{hashed.size} bytes; expected {shard['bytes']}")
        elif hashed.hexdigest() != shard["sha256"]:
            told.append("its checksum is not the manifest's")
        if not told and records != shard["records"]:
            told.append(f"{records} records; expected {shard['records']}")
        return told

    def _check_record(self, data: bytes, shard: dict[str, Any]) -> np.ndarray:
        """The record's log-magnitudes [T, F].

        Raises:
          ValueError: that says what is wrong with it.
        """
        record = example_io.decode(data)
        if set(record) != set(FIELDS):
            raise ValueError(
                f"has {', '.join(sorted(record))}; expected "
                f"{', '.join(sorted(FIELDS))}"
            )
        shape, window = self._config.window_shape, record["window"]
        if window.size != np.prod(shape):
            raise ValueError(f"{window.size} values; expected {shape}")
        if not np.isfinite(window).all():
            raise ValueError("a value is not finite")
        window = window.reshape(shape)
        floor = np.float32(self._config.log_floor)
        if window.min() < floor - 1e-4:
            raise ValueError(f"{window.min():.3f} is below the floor {floor}")
        labels = len(self._manifest["labels"])
        if not UNKNOWN_LABEL <= record["label"] < labels:
            raise ValueError(f"label {record['label']} of {labels}")
        rate = self._config.audio.sample_rate_hz
        if record["sample_rate_hz"] != rate:
            raise ValueError(f"{record['sample_rate_hz']} Hz; expected {rate}")
        split = shard["path"].partition("/")[0].removeprefix("Split-")
        self._splits[split].add(record["recording_id"])
        self._counts[split] += 1
        return window

    def _add(self, batch: list[np.ndarray], shard: dict[str, Any]) -> None:
        if not batch or not _is_of(shard, "train"):
            return
        frames = np.concatenate(batch)
        self._moments.add(frames, self._config)
        # The first ones of every batch, until there are enough.
        batches = max(1, self._manifest["windows"]["train"] // _BATCH)
        share = -(-_SHOWN // min(batches, _SHOWN))
        self.shown += batch[: min(share, _SHOWN - len(self.shown))]

    def _check_whole(self) -> Iterator[str]:
        for split in example_io.SPLITS:
            found, told = self._counts[split], self._manifest["windows"][split]
            if found != told:
                yield f"{found} {split} windows; expected {told}"
        both = self._splits["train"] & self._splits["eval"]
        for name in sorted(both)[:_TOLD]:
            yield f"{os.fsdecode(name)!r} is in both splits"
        ours = self._moments.to_dict()
        for name, theirs in self._manifest["moments"].items():
            if not np.allclose(ours[name], theirs, _TOLERANCE, _TOLERANCE):
                yield f"the moments' {name} is not that of the training windows"


class _Hashed:
    """A file that hashes what is read of it."""

    def __init__(self, file: BinaryIO):
        self._file, self._sha256 = file, hashlib.sha256()
        self.size = 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._sha256.update(data)
        self.size += len(data)
        return data

    def finish(self) -> None:
        """Reads what is left."""
        while self.read(1 << 20):
            pass

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()


if __name__ == "__main__":
    # Beam, for remote files, sets up logging of its own.
    logging.basicConfig(format="%(levelname)s: %(message)s", force=True)
    sys.exit(main())
