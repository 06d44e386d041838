"""Checkpoints of a run: folders that appear by one rename.

checkpoints/step-00001000/state.json    step and seconds trained
                          weights.*     tf.train.Checkpoint
"""

import json
import logging
import os
import shutil
from pathlib import Path

import keras
import tensorflow as tf

from stftgan_tf.cli import UserError
from stftgan_tf.wgan import WGAN

_LOG = logging.getLogger(__name__)
_PREFIX = "step-"

# What TensorFlow and JSON raise for missing, cut or altered files.
_DAMAGE = (
    tf.errors.OpError,
    AssertionError,
    IndexError,
    KeyError,
    OSError,
    ValueError,
)


def save(folder: Path, model: WGAN, step: int, secs: float, keep: int) -> Path:
    """Writes a checkpoint and removes all but the newest `keep`.

    Args:
      folder: the run's `checkpoints`.
      model: compiled.
      step: generator updates so far.
      secs: seconds trained so far.
      keep: how many stay.

    Returns:
      The checkpoint's folder.

    Raises:
      UserError: if it cannot be written (a full disk); earlier ones stay.
    """
    target = folder / f"{_PREFIX}{step:08d}"
    staging = folder / f".incomplete-{target.name}-{os.getpid()}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        _objects(model).write(str(staging / "weights"))
        state = {"step": step, "secs": secs}
        (staging / "state.json").write_text(json.dumps(state))
        shutil.rmtree(target, ignore_errors=True)
        staging.rename(target)
    except tf.errors.OpError as error:
        reason = error.message.splitlines()[0]
        raise UserError(f"cannot write {target}: {reason}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    for old in newest_first(folder)[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def newest_first(folder: Path) -> list[Path]:
    """The checkpoints of a run."""
    return sorted(folder.glob(f"{_PREFIX}*"), reverse=True)


def restore_newest(folder: Path, model: WGAN) -> tuple[int, float]:
    """Restores the newest checkpoint that is whole.

    Args:
      folder: the run's `checkpoints`.
      model: compiled; gets weights, averages and the optimizers' state.

    Returns:
      (step, seconds trained), (0, 0.0) where there is no checkpoint.

    Raises:
      UserError: if there are checkpoints and all are damaged.
    """
    return _restore(folder, lambda path: _read(path, _objects(model)), (0, 0.0))


def restore_average(folder: Path, generator: keras.Model) -> tuple[int, float]:
    """Restores only the averaged generator, for the export.

    Raises:
      UserError: if there is no checkpoint, or all are damaged.
    """
    checkpoint = tf.train.Checkpoint(ema_generator=generator)
    return _restore(folder, lambda path: _read(path, checkpoint, partly=True))


def _restore(folder, read, nothing=None):
    """The first checkpoint that `read` can read, newest first."""
    paths = newest_first(folder)
    for path in paths:
        try:
            return read(path)
        except _DAMAGE as e:
            reason = str(e).strip().splitlines() or [type(e).__name__]
            _LOG.warning("checkpoint %s is damaged: %s", path, reason[0])
    if paths or nothing is None:
        what = "only damaged checkpoints" if paths else "no checkpoint"
        raise UserError(f"{folder} holds {what}")
    return nothing


def _read(path: Path, checkpoint: tf.train.Checkpoint, partly: bool = False):
    state = json.loads((path / "state.json").read_text())
    status = checkpoint.read(str(path / "weights"))
    if partly:
        status.expect_partial()
    status.assert_existing_objects_matched()
    return state["step"], state["secs"]


def _objects(model: WGAN) -> tf.train.Checkpoint:
    return tf.train.Checkpoint(
        generator=model.generator,
        critic=model.critic,
        ema_generator=model.ema_generator,
        generator_optimizer=model.generator_optimizer,
        critic_optimizer=model.critic_optimizer,
    )
