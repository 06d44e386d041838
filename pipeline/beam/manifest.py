"""The files of a data set beside its shards: manifest, statistics, schema."""

import bisect
import dataclasses
import importlib.metadata
import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import scipy
import soundfile
import soxr

from pipeline import storage
from pipeline.audio.containers.formats import has_av
from pipeline.audio.reading import MAX_GAIN_DB
from pipeline.beam import label_coverage, schema, statistics
from pipeline.sources.recordings import Source
from stftgan_tf.config import Config
from stftgan_tf.data import records


def write(
    root: str, config: Config, source: Source, summary: dict[str, Any]
) -> dict[str, Any]:
    """Writes the manifest, stats.json, schema.pbtxt and dead_letters.jsonl.

    Args:
      root: directory of the data set.
      config: of the data set.
      source: its recordings.
      summary: what the Beam job returned (`summary.WriteSummary`).

    Returns:
      The manifest.
    """
    manifest = _manifest(config, source, summary)
    texts: dict[str, Iterable[str]] = {
        records.MANIFEST: _indented(manifest),
        "stats.json": [json.dumps(_stats(config, source, summary)) + "\n"],
        "schema.pbtxt": [schema.schema(config, source.labels)],
        "dead_letters.jsonl": (
            json.dumps(letter) + "\n" for letter in summary["dead_letters"]
        ),
    }
    for name, parts in texts.items():
        storage.write_texts(storage.join(root, name), parts)
    return manifest


def _indented(value: Any) -> Iterator[str]:
    """JSON in parts: a manifest of a million shards has many millions."""
    tokens = json.JSONEncoder(indent=1).iterencode(value)
    while part := "".join(itertools.islice(tokens, 10_000)):
        yield part
    yield "\n"


def _manifest(
    config: Config, source: Source, summary: dict[str, Any]
) -> dict[str, Any]:
    windows = dict.fromkeys(records.SPLITS, 0)
    frames = dict.fromkeys(records.SPLITS, 0)
    for split, totals in summary["splits"].items():
        windows[split], frames[split] = totals["windows"], totals["frames"]
    secs = config.stft.frame_step / config.audio.sample_rate_hz
    dead = {letter["path"] for letter in summary["dead_letters"]}
    return {
        "format_version": records.FORMAT_VERSION,
        "config_hash": config.data_hash(),
        "config": config.data_dict(),
        "labels": source.labels,
        "recordings": len(source.recordings) - len(summary["duplicates"]),
        "dead_letters": len(dead),
        **_duplicates(source, summary),
        "left_out": dict(sorted(source.left_out.items())),
        "notes": summary["notes"],
        "names": label_coverage.facts(source, config),
        "windows": windows,
        "hours": {k: v * secs / 3600 for k, v in frames.items()},
        "silent_windows": summary["silent"],
        "gain_db": _gains(summary["gains"]),
        "clipped_share": summary["clipped_share"],
        "moments": summary["moments"],
        "shards": summary["shards"],
        "versions": {
            "decoder": _decoder_version(config),
            "resampler": f"soxr {soxr.__version__}",
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "apache_beam": beam.__version__,
        },
    }


def _gains(counts: dict[str, int]) -> dict[str, Any]:
    """What recordings were amplified by, in dB, and how many by the maximum."""
    if not counts:
        return {"min": None, "median": None, "max": None, "limited": 0}
    # JSON has no other keys than strings.
    gains = sorted((float(gain), count) for gain, count in counts.items())
    ends = list(itertools.accumulate(count for _, count in gains))
    return {
        "min": gains[0][0],
        "median": gains[bisect.bisect_right(ends, ends[-1] // 2)][0],
        "max": gains[-1][0],
        "limited": sum(n for gain, n in gains if gain >= MAX_GAIN_DB),
    }


def _duplicates(source: Source, summary: dict[str, Any]) -> dict[str, Any]:
    """Skipped names of the same file, and files with the same content."""
    duplicates = [dataclasses.astuple(d) for d in source.duplicates]
    duplicates += summary["duplicates"]
    # The most doubtful one is the example.
    duplicates.sort(key=lambda duplicate: not duplicate[2])
    return {
        "duplicates": len(duplicates),
        "duplicate_example": duplicates[0][:2] if duplicates else None,
        "duplicates_with_other_label": sum(d[2] for d in duplicates),
    }


def _decoder_version(config: Config) -> str:
    if config.audio.decoder == "tfio":
        return f"tensorflow-io {importlib.metadata.version('tensorflow-io')}"
    version = f"libsndfile {soundfile.__libsndfile_version__}"
    if has_av():
        version += f", PyAV {importlib.metadata.version('av')}"
    return version


def _stats(
    config: Config, source: Source, summary: dict[str, Any]
) -> dict[str, Any]:
    """Histograms of the bins, and windows per label and per speaker."""
    stats: dict[str, Any] = {
        "histogram": {
            "low": config.log_floor,
            "cells": statistics.HISTOGRAM_CELLS,
            "counts": summary["histogram"],
        }
    }
    for kind in ("labels", "speakers"):
        stats[kind] = {
            split: _named(totals[kind], source.labels, kind == "labels")
            for split, totals in summary["splits"].items()
        }
    return stats


def _named(
    counts: dict[str, int], labels: list[str], are_labels: bool
) -> dict[str, int]:
    """Windows per speaker, or per label by its name, sorted."""
    if are_labels:
        counts = {
            labels[int(key)] if int(key) >= 0 else key: count
            for key, count in counts.items()
        }
    return dict(sorted(counts.items()))
