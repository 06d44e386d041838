"""The directory of a run: what identifies it, and who may train in it."""

import json
from pathlib import Path
from typing import Any

from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.data import dataset
from stftgan_tf.errors import UserError
from stftgan_tf.files import DirectoryKind, write_atomically
from stftgan_tf.models import condition as condition_lib
from stftgan_tf.models.condition import Condition
from stftgan_tf.training import checkpoints

CONFIG = "config.yaml"
MANIFEST = "manifest.json"
# What a fine-tuning started from; see `training.warm_start`.
INIT_FROM = "init_from.json"
# What a training writes before `config.yaml`.
_STARTED = (".lock", "log*.txt", MANIFEST, INIT_FROM, condition_lib.FILE)


def check_usable(
    run: Path, config: Config, shards: dataset.Shards, resume: bool
) -> None:
    """Checks that a training may start, or resume, in a directory.

    Raises:
      UserError: if the directory contains a run and `resume` is false, or a
        run with a different config or different data.
    """
    path = run / CONFIG
    if not path.is_file():
        if resume:
            raise UserError(
                f"{run} contains no run to resume; train without --resume"
            )
        if checkpoints.all_of(run / checkpoints.DIRECTORY):
            raise UserError(
                f"{run} contains checkpoints but no {CONFIG}, so their config "
                "is unknown; remove the directory, or choose another --run"
            )
        _refuse_foreign(run)
        return
    differences = config_lib.differences(
        _identity(config_lib.load_saved(path)), _identity(config)
    )
    if differences:
        values = "; ".join(
            f"{key}: {a!r} there, {b!r} here" for key, a, b in differences
        )
        raise UserError(
            f"run {run} and the config differ: {values}; resume without "
            "--config and --set, or choose another --run"
        )
    if dataset.read_manifest(run / MANIFEST) != shards.manifest:
        raise UserError(
            f"run {run} was trained on different shards than {shards.root}"
        )
    if not resume:
        raise UserError(
            f"{run} already contains a run; use --resume to continue it, or "
            "another --run"
        )


def _identity(config: Config) -> dict[str, Any]:
    """The values of a config that a run keeps for good.

    `train.steps` may grow, because it is nothing but the default of `--steps`.
    """
    values = config.to_dict()
    for section in config_lib.ASSESSMENT_SECTIONS:
        del values[section]
    del values["train"]["steps"]
    return values


def _refuse_foreign(run: Path) -> None:
    """Raises UserError for a directory that contains anything but a start.

    A training that was killed before it wrote `config.yaml` leaves the files in
    `_STARTED`.
    """
    if not run.is_dir():
        return
    started = DirectoryKind(CONFIG, _STARTED)
    files = started.foreign(path.name for path in run.iterdir())
    if files:
        raise UserError(
            f"{run} is not a run, and not empty ({', '.join(files[:3])}"
            f"{', ...' if len(files) > 3 else ''}); choose another --run"
        )


def write_identity(
    run: Path,
    config: Config,
    shards: dataset.Shards,
    condition: Condition | None,
) -> None:
    """Writes what identifies the run. `config.yaml` comes last.

    A directory without `config.yaml` is not a run yet, so a training that is
    killed before can start again.
    """
    if condition:
        condition.save(run / condition_lib.FILE)
    manifest = json.dumps(shards.manifest, indent=1) + "\n"
    write_atomically(run / MANIFEST, manifest.encode())
    write_atomically(run / CONFIG, config.to_yaml().encode())


def open_run(run: Path) -> tuple[Config, dict[str, Any]]:
    """Config and data manifest of a run.

    Raises:
      UserError: if the directory contains no run.
    """
    path = run / CONFIG
    if not path.is_file():
        raise UserError(
            f"{run} is not a run (no {CONFIG}); train one with "
            "python -m stftgan_tf.train"
        )
    manifest = dataset.read_manifest(run / MANIFEST)
    return config_lib.load_saved(path), manifest
