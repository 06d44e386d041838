"""Translates the keys and values of earlier versions to current ones.

Runs, exports, manifests and users' YAML files still contain configs of earlier
versions. A renamed key gets its new name. The key of a removed feature is
dropped if the feature was off. If it was on, the config is rejected, because
its results cannot be reproduced.
"""

import copy
from typing import Any

from stftgan_tf.errors import ConfigError

RENAMED = {
    "model.halvings": "model.num_downsamples",
    "train.penalty_every": "train.penalty_interval",
    "train.clip_value": "train.weight_clip",
}

# Keys of removed features, with the texts that mean "off".
REMOVED = {
    "stft.window": ("hann",),
    "window.phase": ("false", "no", "off"),
    "model.packing": ("1",),
    "model.spectral_norm": ("false", "no", "off"),
    "train.drift_weight": ("0", "0.0"),
}

# Keys that had a meaning only for a removed value.
IGNORED = ("watch.max_rollbacks", "watch.rollback_lr_factor")

# Removed values of keys that still exist.
REMOVED_VALUES = {
    "model.phase": ("frequency",),
    "train.loss": ("wgan-lp", "wgan-div"),
}
# Removed values that have a replacement.
REPLACED_VALUES = {"watch.on_collapse": {"rollback": "stop"}}


def translate(values: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Replaces the old keys and values of a nested config.

    Returns:
      The values, and a note for each change, such as `model.halvings is now
      model.num_downsamples`.

    Raises:
      ConfigError: if a removed feature is on, or if a key is present under
        its old and its new name.
    """
    result = copy.deepcopy(values)
    notes = []
    for section, keys in result.items():
        if isinstance(keys, dict):
            notes += _translate_section(section, keys)
    return result, notes


def _translate_section(section: str, keys: dict[str, Any]) -> list[str]:
    notes = []
    for key, value in list(keys.items()):
        name = f"{section}.{key}"
        if name in RENAMED:
            new = RENAMED[name]
            if new.partition(".")[2] in keys:
                raise ConfigError(f"{name} is the old name of {new}; use one")
            keys[new.partition(".")[2]] = keys.pop(key)
            notes.append(f"{name} is now {new}")
        elif name in IGNORED or name in REMOVED:
            # Files contain text, manifests and Python also false and 0.0.
            off = REMOVED.get(name, (str(value).lower(),))
            if str(value).lower() not in off:
                raise ConfigError(_removed_message(name, value))
            del keys[key]
            notes.append(f"{name} was removed")
        elif value in REMOVED_VALUES.get(name, ()):
            raise ConfigError(_removed_message(name, value))
        elif new_value := _replacement(name, value):
            keys[key] = new_value
            notes.append(f"{name}: {value} is now {new_value}")
    return notes


def _replacement(name: str, value: Any) -> str | None:
    table = REPLACED_VALUES.get(name, {})
    return table.get(value) if isinstance(value, str) else None


def _removed_message(name: str, value: Any) -> str:
    return (
        f"{name} is {value!r}, a feature that was removed; preprocess and "
        "train again without it, or keep using the version that wrote this"
    )
