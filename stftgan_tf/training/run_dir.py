"""The directory of a run: what identifies it, and who may train in it."""

import json
from pathlib import Path
from typing import Any

from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.data import dataset
from stftgan_tf.errors import UserError
from stftgan_tf.files import write_atomically
from stftgan_tf.models import condition as condition_lib
from stftgan_tf.models.condition import Condition
from stftgan_tf.training import checkpoints

CONFIG = "config.yaml"
MANIFEST = "manifest.json"


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
        return
    saved, new = config_lib.load_saved(path).to_dict(), config.to_dict()
    for section in config_lib.ASSESSMENT_SECTIONS:
        del saved[section], new[section]
    dataset.check_same(f"run {run}", saved, new)
    if dataset.read_manifest(run / MANIFEST) != shards.manifest:
        raise UserError(
            f"run {run} was trained on different shards than {shards.root}"
        )
    if not resume:
        raise UserError(
            f"{run} already contains a run; use --resume to continue it, or "
            "another --run"
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
