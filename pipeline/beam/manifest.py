"""The files of a data set beside its shards: manifest, statistics, schema."""

import collections
import dataclasses
import importlib.metadata
import json
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
      summary: what the Beam job returned (`transforms.WriteSummary`).

    Returns:
      The manifest.
    """
    manifest = _manifest(config, source, summary)
    texts = {
        records.MANIFEST: json.dumps(manifest, indent=1) + "\n",
        "stats.json": json.dumps(_stats(config, source, summary)) + "\n",
        "schema.pbtxt": schema.schema(config, source.labels),
        "dead_letters.jsonl": "".join(
            json.dumps(letter) + "\n" for letter in summary["dead_letters"]
        ),
    }
    for name, text in texts.items():
        storage.write_text(storage.join(root, name), text)
    return manifest


def _manifest(
    config: Config, source: Source, summary: dict[str, Any]
) -> dict[str, Any]:
    windows = dict.fromkeys(records.SPLITS, 0)
    frames = dict.fromkeys(records.SPLITS, 0)
    for shard in summary["shards"]:
        windows[shard["split"]] += shard["records"]
        frames[shard["split"]] += shard["frames"]
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
        "silent_windows": sum(s["silent"] for s in summary["shards"]),
        "gain_db": _gains(summary["shards"]),
        "clipped_share": summary["clipped_share"],
        "moments": summary["moments"],
        "shards": [
            {k: shard[k] for k in ("path", "records", "bytes", "sha256")}
            for shard in summary["shards"]
        ],
        "versions": {
            "decoder": _decoder_version(config),
            "resampler": f"soxr {soxr.__version__}",
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "apache_beam": beam.__version__,
        },
    }


def _gains(shards: list[dict[str, Any]]) -> dict[str, Any]:
    """What recordings were amplified by, in dB, and how many by the maximum."""
    counts = collections.Counter()
    for shard in shards:
        # JSON has no other keys than strings.
        counts.update({float(k): v for k, v in shard["gains"].items()})
    gains = sorted(counts.elements())
    if not gains:
        return {"min": None, "median": None, "max": None, "limited": 0}
    return {
        "min": gains[0],
        "median": gains[len(gains) // 2],
        "max": gains[-1],
        "limited": sum(gain >= MAX_GAIN_DB for gain in gains),
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
        stats[kind] = _counts(summary["shards"], kind, source.labels)
    return stats


def _counts(
    shards: list[dict[str, Any]], kind: str, labels: list[str]
) -> dict[str, dict[str, int]]:
    """Windows per label or speaker, by split."""
    counts: dict[str, collections.Counter] = {}
    for shard in shards:
        counter = counts.setdefault(shard["split"], collections.Counter())
        for key, count in shard[kind].items():
            known = kind == "labels" and int(key) >= 0
            counter[labels[int(key)] if known else key] += count
    return {split: dict(sorted(c.items())) for split, c in counts.items()}
