"""What the listening page shows about a version, from files of its export."""

import json
from pathlib import Path
from typing import Any

from stftgan_tf.evaluation import blessing
from stftgan_tf.saved_model import export_files

# Of metadata.json.
_KEYS = (
    "sample_rate_hz",
    "samples",
    "long_samples",
    "latent_dim",
    "condition",
    "labels",
    "parameters",
    "step",
    "train_secs",
)


def about(path: Path) -> dict[str, Any]:
    """Facts, card, map and verdict of an export.

    Files that are missing or damaged leave their part out, because a version
    must be served without them. The card is Markdown; the map is described in
    `saved_model.sound_map`; the verdict is that of `evaluate`, which
    `pipeline.push` keeps beside the export.
    """
    metadata = _read(path / export_files.METADATA)
    parts = {
        "facts": {k: metadata[k] for k in _KEYS if k in metadata},
        "map": _read(path / export_files.MAP),
        "verdict": _verdict(_read(path / blessing.PUSHED).get("verdict")),
    }
    try:
        card = (path / export_files.CARD).read_text(encoding="utf-8")
        parts["card"] = card
    except (OSError, ValueError):
        pass
    return {name: part for name, part in parts.items() if part}


def _read(path: Path) -> dict[str, Any]:
    """A JSON object, empty if it cannot be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _verdict(verdict: Any) -> dict[str, Any]:
    """The parts of a verdict that people read."""
    if not isinstance(verdict, dict):
        return {}
    keys = ("blessed", "reasons", "real", "generated", "checks")
    return {key: verdict[key] for key in keys if key in verdict}
