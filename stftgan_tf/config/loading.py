"""Configs from YAML files, from shipped names and from plain values."""

import dataclasses
import difflib
import json
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stftgan_tf.config import old_keys, parsing, yaml_text
from stftgan_tf.config.checks import check
from stftgan_tf.config.schema import DATA_SECTIONS, Config
from stftgan_tf.errors import ConfigError, first_line

_PACKAGE = Path(__file__).resolve().parents[1]
# The configs are inside the package in a wheel, and beside it in a checkout.
CONFIG_DIRS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")


def load(name: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Loads a YAML file, or a shipped config by its name.

    Old keys in the file are translated; a note on stderr names them.

    Args:
      name: a path, or a name such as `digits8k`.
      overrides: `section.key=value` texts, which take precedence.

    Raises:
      ConfigError: if there is no such config or it cannot be used; the
        message names the file or the override that contains the mistake.
    """
    path = find(name)
    values, notes = _read(path)
    for note in notes:
        print(f"note: {note}", file=sys.stderr, flush=True)
    return _resolve(values, overrides, source=str(path))


def load_saved(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Loads the complete config that a run saved, which may have old keys.

    Args:
      path: of the file.
      overrides: `section.key=value` texts, which take precedence.

    Raises:
      ConfigError: if the file or an override cannot be used.
    """
    values, _ = _read(path)
    # Every version saved these; defaults must not stand in for a cut file.
    missing = [name for name in ("model", "train") if name not in values]
    if missing:
        raise ConfigError(f"{path} is damaged: {missing[0]} is missing")
    return _resolve(values, overrides, source=str(path))


def load_exported(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Loads the config in the metadata.json of an export.

    Args:
      path: of the file.
      overrides: `section.key=value` texts, which take precedence.

    Raises:
      ConfigError: if the file or an override cannot be used.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))["config"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{path} is damaged: {first_line(error)}") from error
    return from_dict(values, overrides, source=str(path))


def from_dict(
    values: dict[str, Any], overrides: Sequence[str] = (), source: str = ""
) -> Config:
    """Builds and checks a config from nested plain values.

    Args:
      values: sections of keys and values; old keys are translated.
      overrides: `section.key=value` texts, which take precedence.
      source: name of the origin, for error messages.

    Raises:
      ConfigError: for an unknown key, a wrong type or values that cannot work
        together.
    """
    return _resolve(_translate(values, source), overrides, source)


def complete_data_config(
    data: dict[str, Any], source: str = ""
) -> dict[str, Any]:
    """A data set's config with current keys, and defaults for missing ones.

    Args:
      data: the config in the manifest of the data set.
      source: name of the data set, for error messages.

    Raises:
      ConfigError: if a key or value is unknown, or a removed feature is on.
    """
    hints = typing.get_type_hints(Config)
    sections = {name: data[name] for name in DATA_SECTIONS if name in data}
    return {
        name: dataclasses.asdict(
            parsing.construct(hints[name], values, f"{name}.")
        )
        for name, values in _translate(sections, source).items()
    }


def shipped_configs() -> dict[str, Path]:
    """Files of the configs that come with the project, by name."""
    return {
        path.stem: path
        for directory in CONFIG_DIRS
        for path in sorted(directory.glob("*.yaml"))
    }


def find(name: str | Path) -> Path:
    """The file that `--config` refers to: a path, or else a shipped config.

    Raises:
      ConfigError: if there is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    configs = shipped_configs()
    # A bare name, or `configs/digits8k.yaml` from a directory that lacks it.
    bare = str(name)
    if path.parent == Path("configs") and path.suffix == ".yaml":
        bare = path.stem
    if bare in configs:
        return configs[bare]
    if bare == "auto":
        raise ConfigError(
            "auto chooses a config only in python -m pipeline.run, which "
            "writes it to ROOT/auto.yaml; name that file here"
        )
    nearest = difflib.get_close_matches(bare, configs, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ";"
    raise ConfigError(
        f"no config file {str(name)!r}{hint} shipped configs: "
        f"{', '.join(sorted(configs))}"
    )


def differences(
    left: dict[str, Any], right: dict[str, Any], prefix: str = ""
) -> list[tuple[str, Any, Any]]:
    """Lists (dotted key, left, right) where two nested dicts differ."""
    result = []
    for key in sorted(set(left) | set(right)):
        a, b = left.get(key), right.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            result += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            result.append((f"{prefix}{key}", a, b))
    return result


def _read(
    path: Path, children: tuple[Path, ...] = ()
) -> tuple[dict[str, Any], list[str]]:
    """The checked values of a file and of the files it extends, and notes.

    Args:
      path: the file.
      children: the files that extend it, to detect cycles.
    """
    if path.resolve() in children:
        chain = " -> ".join(p.name for p in (*children, path))
        raise ConfigError(f"{children[0]}: extends itself: {chain}")
    values = _yaml(path)
    try:
        parent = _parent(path, values.pop("extends", None))
        values, changes = old_keys.translate(values)
        values = parsing.check_values(Config, values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    notes = [f"{path}: {'; '.join(changes)}"] if changes else []
    if parent:
        base, base_notes = _read(parent, (*children, path.resolve()))
        values, notes = parsing.merge(base, values), base_notes + notes
    return values, notes


def _yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml_text.load(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not readable as YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected sections, got {values!r}")
    return values


def _parent(path: Path, name: Any) -> Path | None:
    """The file that `extends: NAME` in a file refers to."""
    if name is None:
        return None
    if not isinstance(name, str):
        raise ConfigError(f"extends is {name!r}; expected a name or a path")
    beside = path.parent / name
    return beside if beside.is_file() else find(name)


def _translate(values: dict[str, Any], source: str) -> dict[str, Any]:
    """The checked values under current keys."""
    try:
        return parsing.check_values(Config, old_keys.translate(values)[0])
    except ConfigError as error:
        raise ConfigError(_with_source(source, error)) from error


def _resolve(
    values: dict[str, Any], overrides: Sequence[str], source: str
) -> Config:
    """Builds a config; an error names the source or the `--set` at fault."""
    result = values
    for text in overrides:
        result = parsing.merge(result, _override(text))
    try:
        return _construct(result)
    except ConfigError as error:
        if overrides and _is_valid(values):
            source = " ".join(f"--set {text}" for text in overrides)
        raise ConfigError(_with_source(source, error)) from error


def _with_source(source: str, error: ConfigError) -> str:
    return f"{source}: {error}" if source else str(error)


def _override(text: str) -> dict[str, Any]:
    """The checked nested values of one `--set`."""
    try:
        values, notes = old_keys.translate(parsing.parse_override(Config, text))
        if notes:
            raise ConfigError(notes[0])
        return parsing.check_values(Config, values)
    except ConfigError as error:
        raise ConfigError(f"--set {text}: {error}") from error


def _construct(values: dict[str, Any]) -> Config:
    config = parsing.construct(Config, values)
    check(config)
    return config


def _is_valid(values: dict[str, Any]) -> bool:
    try:
        _construct(values)
    except ConfigError:
        return False
    return True
