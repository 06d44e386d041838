"""The manifest and the statistics of a data set, local or remote."""

import json
from typing import Any

from pipeline import remote, storage
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.data import records
from stftgan_tf.errors import UserError


def read_manifest(root: str) -> dict[str, Any]:
    """The manifest of a data set.

    Raises:
      UserError: if it is missing or damaged.
    """
    remote.configure_from_environment(root)
    path = storage.join(root, records.MANIFEST)
    if not storage.exists(path):
        raise UserError(
            f"{root} is not a data set (no {records.MANIFEST}); create one "
            "with python -m pipeline.preprocess"
        )
    try:
        with storage.open_input(path) as file:
            return records.parse_manifest(file.read())
    except ValueError as error:
        raise UserError(f"{path} {error}") from error


# What JSON raises for a damaged file, and access to what is not there.
_DAMAGE = (AttributeError, KeyError, RecursionError, TypeError, ValueError)


def read_stats(root: str) -> dict[str, Any]:
    """The statistics of a data set: histograms, labels and speakers.

    Raises:
      UserError: if they are damaged.
    """
    path = storage.join(root, "stats.json")
    try:
        stats = json.loads(storage.read_text(path))
        splits = [*stats["labels"].values(), *stats["speakers"].values()]
        if not all(isinstance(counts, dict) for counts in splits):
            raise ValueError("counts are malformed")
        return stats
    except _DAMAGE as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def data_config(manifest: dict[str, Any]) -> Config:
    """The config that a data set was made with; its networks are unknown."""
    # Windows of a single frame are too short for the default networks.
    values = {**manifest["config"], "model": {"num_downsamples": 0}}
    return config_lib.from_dict(values, source=records.MANIFEST)


def summary(manifest: dict[str, Any]) -> str:
    """A manifest as a table of name and value."""
    rows = {
        "format version": manifest["format_version"],
        "config hash": manifest["config_hash"],
        "recordings": manifest["recordings"],
        "unusable": manifest["dead_letters"],
        # Manifests of the first version do not have it.
        "duplicates": f"{manifest.get('duplicates', 0)} skipped",
        "silent windows": f"{manifest['silent_windows']} dropped",
        "gain": _gain(manifest),
        "above 3 sigma": f"{100 * manifest['clipped_share']:.3f} % of values",
        "labels": ", ".join(manifest["labels"]) or "none",
    }
    for split in records.SPLITS:
        rows[split] = _split_summary(manifest, split)
    for section, values in manifest["config"].items():
        rows[section] = ", ".join(f"{k} {v!r}" for k, v in values.items())
    versions = manifest["versions"].items()
    rows["made with"] = ", ".join(f"{name} {text}" for name, text in versions)
    return "\n".join(f"{name:16s} {value}" for name, value in rows.items())


def _gain(manifest: dict[str, Any]) -> str:
    """What the recordings were amplified by."""
    # Older manifests do not have it.
    gain = manifest.get("gain_db")
    if not gain or gain["median"] is None:
        return "unknown"
    return (
        f"{gain['min']:g} to {gain['max']:g} dB, median {gain['median']:g}, "
        f"limited for {gain['limited']} recordings"
    )


def _split_summary(manifest: dict[str, Any], split: str) -> str:
    shards = [s for s in manifest["shards"] if is_in_split(s, split)]
    size = sum(shard["bytes"] for shard in shards) / 1e6
    return (
        f"{manifest['windows'][split]} windows, "
        f"{manifest['hours'][split]:.3f} hours, {len(shards)} shards, "
        f"{size:.1f} MB"
    )


def is_in_split(shard: dict[str, Any], split: str) -> bool:
    """Whether a shard of the manifest belongs to a split."""
    return shard["path"].startswith(f"Split-{split}/")
