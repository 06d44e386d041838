"""What clients of a served model rely on. A new version must not change it.

The audio (sample rate, STFT, window), the labels, and the inputs and outputs
of the signatures. Needs no TensorFlow unless signatures are compared.
"""

import json
from pathlib import Path
from typing import Any

from stftgan_tf.config import Config
from stftgan_tf.errors import UserError
from stftgan_tf.saved_model.export_files import METADATA

# Labels that a message names, at most.
_NAMED = 6


def changes(served: Path, export: Path) -> list[str]:
    """What an export changes of the contract of a served version.

    Args:
      served: directory of the version.
      export: directory of the export.

    Returns:
      Texts such as `sample rate 16000 Hz -> 8000 Hz`; none if clients of the
      version can use the export as they use the version.

    Raises:
      UserError: if one of the two is damaged.
    """
    old, new = _metadata(served), _metadata(export)
    result = _audio_changes(old, new) + _label_changes(old, new)
    if old and new:
        # The shapes follow from the window, whose change is stated already.
        result += _signature_changes(served, export, shapes=not result)
    return result


def audio_changes(served: Path, export: Path) -> list[str]:
    """The changes of the audio alone.

    Metrics of two exports can be compared only if there are none.

    Raises:
      UserError: if metadata.json is damaged.
    """
    return _audio_changes(_metadata(served), _metadata(export))


def planned_changes(served: Path, config: Config) -> list[str]:
    """The changes that a config makes certain before a model is trained.

    Args:
      served: directory of a version.
      config: of the training.

    Raises:
      UserError: if metadata.json is damaged.
    """
    old = _metadata(served)
    new = {
        "sample_rate_hz": config.audio.sample_rate_hz,
        "samples": config.window_samples,
        "config": config.to_dict(),
    }
    result = _audio_changes(old, new)
    if config.model.condition != "label":
        result += _label_changes(old, new)
    elif not _labels_of(old):
        result.append("labels none -> those of the recordings")
    return result


def _metadata(export: Path) -> dict[str, Any]:
    """The metadata of an export; empty if another project made it."""
    path = export / METADATA
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, TypeError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def _audio_of(metadata: dict[str, Any]) -> dict[str, str]:
    """Sample rate, STFT and window, as texts."""
    rate_hz = metadata.get("sample_rate_hz")
    stft = metadata.get("config", {}).get("stft", {})
    samples = metadata.get("samples")
    window = "of unknown length"
    if samples and rate_hz:
        window = f"of {samples} samples ({samples / rate_hz:.3g} s)"
    length, step = (stft.get(key) for key in ("frame_length", "frame_step"))
    return {
        "sample rate": f"{rate_hz} Hz" if rate_hz else "unknown",
        "STFT": f"{length}/{step}" if length else "unknown",
        "window": window,
    }


def _labels_of(metadata: dict[str, Any]) -> list[str]:
    """The labels that a request may name, in their order."""
    if metadata.get("condition") != "label":
        return []
    return list(metadata.get("labels", []))


def _audio_changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    before, after = _audio_of(old), _audio_of(new)
    return [
        f"{name} {before[name]} -> {after[name]}"
        for name in before
        if before[name] != after[name]
    ]


def _label_changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    before, after = _labels_of(old), _labels_of(new)
    if before == after:
        return []
    return [f"labels {_label_text(before)} -> {_label_text(after)}"]


def _label_text(names: list[str]) -> str:
    """Labels for a message: their number, and the first ones."""
    if not names:
        return "none"
    more = ", ..." if len(names) > _NAMED else ""
    return f"{len(names)} ({', '.join(names[:_NAMED])}{more})"


def _signature_changes(served: Path, export: Path, shapes: bool) -> list[str]:
    old, new = _signatures(served, shapes), _signatures(export, shapes)
    return [
        f"{name} {old.get(name, 'none')} -> {new.get(name, 'none')}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def _signatures(export: Path, shapes: bool) -> dict[str, str]:
    """Type and shape of all inputs and outputs by name, as texts."""
    # Loads TensorFlow, which takes seconds.
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    from stftgan_tf.saved_model import loading

    try:
        definitions = loading.signature_defs(export)
    except (DecodeError, IndexError, OSError) as error:
        raise UserError(f"export {export} is damaged: {error}") from error
    result = {}
    for name, signature in definitions.items():
        for kind in ("inputs", "outputs"):
            for key, info in getattr(signature, kind).items():
                text = tf.dtypes.as_dtype(info.dtype).name
                if shapes:
                    sizes = [dim.size for dim in info.tensor_shape.dim]
                    text += str(["?" if n < 0 else n for n in sizes])
                result[f"{name}.{kind}.{key}"] = text.replace("'", "")
    return result
