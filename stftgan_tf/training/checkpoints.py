"""Checkpoints of a run: directories that appear by one rename.

checkpoints/step-00001000/state.json  steps, seconds, state of the watch
                          weights.*   a tf.train.Checkpoint
            best-00000500/            the same, of the best measurement
            last-00001234/            the same, of the last step if it is best
"""

import dataclasses
import json
import logging
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import keras
import tensorflow as tf

from stftgan_tf import run_files
from stftgan_tf.errors import UserError, first_line
from stftgan_tf.models.wgan import WGAN
from stftgan_tf.run_files import CHECKPOINT_NAME
from stftgan_tf.training import state as state_lib
from stftgan_tf.training.state import State

# Within the directory of a run.
DIRECTORY = run_files.CHECKPOINTS

# What an export may ask for, besides the number of a step.
BEST, LAST = "best", "last"

_LOG = logging.getLogger(__name__)
_STEP, _BEST, _LAST = "step-", "best-", "last-"
# Prefix of directories that are being written or removed.
_HIDDEN = ".incomplete-"

# What TensorFlow and JSON raise for missing, truncated or altered files.
_DAMAGE = (
    tf.errors.OpError,
    IndexError,
    KeyError,
    OSError,
    TypeError,
    ValueError,
)

_T = TypeVar("_T")


class _DifferentNetworksError(Exception):
    """The weights of a checkpoint do not fit the networks."""


def save(directory: Path, model: WGAN, state: State, keep: int) -> Path:
    """Writes a checkpoint and removes old ones.

    Also removes checkpoints of later steps (damaged, or from a longer
    training), and the `last` one of an earlier end.

    Args:
      directory: `checkpoints` of the run.
      model: compiled.
      state: of the training.
      keep: how many of the newest checkpoints to keep.

    Returns:
      The checkpoint's directory.

    Raises:
      UserError: if it cannot be written, such as on a full disk; earlier
        checkpoints stay.
    """
    target = directory / _name(_STEP, state)
    _write(target, model, state)
    newest = newest_first(directory)
    _remove(path for path in newest if _order(path) > _order(target))
    _remove(newest_first(directory, _LAST))
    _remove(newest_first(directory)[keep:])
    return target


def save_best(
    directory: Path, model: WGAN, state: State, last: bool = False
) -> Path:
    """Writes the best checkpoint so far, and removes the previous best.

    Args:
      directory: `checkpoints` of the run.
      model: compiled.
      state: of the training.
      last: whether this is the last step of the training. An uninterrupted
        longer training would not have measured it, so its checkpoint is kept
        beside the best one, until a resumed training saves another.

    Raises:
      UserError: as `save`.
    """
    prefix = _LAST if last else _BEST
    target = directory / _name(prefix, state)
    _write(target, model, state)
    older = newest_first(directory, prefix) + newest_first(directory, _LAST)
    _remove(path for path in older if path != target)
    return target


def newest_first(directory: Path, prefix: str = _STEP) -> list[Path]:
    """The checkpoints of a run; ignores directories with other names."""
    paths = directory.glob(f"{prefix}*")
    checkpoints = [
        path for path in paths if CHECKPOINT_NAME.fullmatch(path.name)
    ]
    return sorted(checkpoints, key=_order, reverse=True)


def all_of(directory: Path) -> list[Path]:
    """Checkpoints to resume from: the newest first, then the best."""
    return newest_first(directory) + newest_first(directory, _BEST)


def restore_newest(directory: Path, model: WGAN) -> State:
    """Restores the newest undamaged checkpoint, or else the best one.

    Args:
      directory: `checkpoints` of the run.
      model: compiled; receives weights, averages and optimizer states.

    Returns:
      The state of the training; a fresh one if there is no checkpoint.

    Raises:
      UserError: if there are checkpoints and none can be read.
    """
    paths = all_of(directory)
    if not paths:
        return State()
    return _first(
        directory, paths, lambda path: _read(path, _checkpoint(model))
    )


@dataclasses.dataclass(frozen=True)
class Choice:
    """A checkpoint that an export is made from.

    Attributes:
      state: of the training at this checkpoint.
      name: of its directory.
      reason: why this one was chosen, for the user.
    """

    state: State
    name: str
    reason: str


def restore_average(
    directory: Path,
    generator: keras.Model,
    which: str = BEST,
    critic: keras.Model | None = None,
) -> Choice:
    """Restores the averaged generator, of the best checkpoint by default.

    The best is the checkpoint of the last step if that was the best. If there
    is no best one, or it is damaged, the newest is restored.

    Args:
      directory: `checkpoints` of the run.
      generator: receives the averaged weights.
      which: `best`, `last`, or the number of a step.
      critic: if given, receives the weights of the critic.

    Raises:
      UserError: if there is no such checkpoint, or none can be read.
    """
    networks = {"ema_generator": generator}
    if critic is not None:
        networks["critic"] = critic
    checkpoint = tf.train.Checkpoint(**networks)
    every = [
        path
        for prefix in (_LAST, _BEST, _STEP)
        for path in newest_first(directory, prefix)
    ]
    newest = newest_first(directory)
    paths = every
    if which == LAST:
        paths = newest
    elif which != BEST:
        paths = [path for path in every if _order(path)[0] == int(which)]
        if every and not paths:
            raise UserError(
                f"{directory} contains no checkpoint of step {int(which)}; "
                f"expected one of {', '.join(_step_names(every))}"
            )
    path, state = _first(
        directory, paths, lambda path: (path, _read(path, checkpoint))
    )
    reason = _reason(path, state, which, every[0])
    newest_step = _order(newest[0])[0] if newest else state.step
    if path.name.startswith((_BEST, _LAST)) and newest_step != state.step:
        reason += f"; the newest is of step {newest_step}"
    return Choice(state, path.name, reason)


def _step_names(paths: Iterable[Path]) -> list[str]:
    """Steps in order, for example `["500 (best)", "1000"]`."""
    best: dict[int, bool] = {}
    for path in paths:
        step = _order(path)[0]
        is_best = not path.name.startswith(_STEP)
        best[step] = best.get(step, False) or is_best
    return [
        f"{step} (best)" if is_best else str(step)
        for step, is_best in sorted(best.items())
    ]


def _reason(path: Path, state: State, which: str, preferred: Path) -> str:
    """Why a checkpoint was chosen."""
    if which == LAST:
        return "the newest, as asked for"
    if which != BEST:
        return "as asked for"
    if path != preferred:
        return f"the next best, because {preferred.name} cannot be read"
    if path.name.startswith(_STEP):
        return "the newest, because the watch has not found a healthy one"
    frechet = state.metrics.get("frechet")
    value = "" if frechet is None else f": Frechet distance {frechet:.4g}"
    return f"the best by the watch{value}"


def _first(
    directory: Path, paths: list[Path], read: Callable[[Path], _T]
) -> _T:
    """The result of `read` for the first checkpoint that it can read."""
    for path in paths:
        try:
            return read(path)
        except _DAMAGE as error:
            reason = first_line(error)
            _LOG.warning("checkpoint %s is damaged: %s", path, reason)
        except _DifferentNetworksError:
            _LOG.warning(
                "checkpoint %s has different networks than this version of "
                "the project builds; use the version that wrote it",
                path,
            )
    kind = "readable checkpoint" if paths else "checkpoint"
    raise UserError(f"{directory} contains no {kind}")


def _order(path: Path) -> tuple[int, int]:
    """Sorts checkpoints by age: step and rollbacks, from the name."""
    match = CHECKPOINT_NAME.fullmatch(path.name)
    return int(match["step"]), int(match["rollbacks"] or 0)


def _name(prefix: str, state: State) -> str:
    return f"{prefix}{state.step:08d}"


def _write(target: Path, model: WGAN, state: State) -> None:
    # A run has one training at a time, so these are left from a killed one.
    _remove(target.parent.glob(f"{_HIDDEN}*"))
    staging = target.with_name(f"{_HIDDEN}{target.name}")
    staging.mkdir(parents=True)
    try:
        _checkpoint(model).write(str(staging / "weights"))
        text = json.dumps(state_lib.to_dict(state))
        (staging / "state.json").write_text(text)
        _hide([target])
        staging.rename(target)
    except tf.errors.OpError as error:
        reason = first_line(error)
        raise UserError(f"cannot write {target}: {reason}") from error
    finally:
        _remove(target.parent.glob(f"{_HIDDEN}*"))


def _read(path: Path, checkpoint: tf.train.Checkpoint) -> State:
    """Restores what `checkpoint` tracks, and reads the state."""
    state = state_lib.from_dict(json.loads((path / "state.json").read_text()))
    try:
        status = checkpoint.read(str(path / "weights"))
        # The file may contain more: networks that an export does not need,
        # and the number of rollbacks, which earlier versions stored.
        status.expect_partial()
        status.assert_existing_objects_matched()
    except (AssertionError, ValueError) as error:
        raise _DifferentNetworksError from error
    return state


def _remove(paths: Iterable[Path]) -> None:
    for path in _hide(paths):
        shutil.rmtree(path, ignore_errors=True)


def _hide(paths: Iterable[Path]) -> list[Path]:
    """Renames existing directories, so that none is visible half removed."""
    return [
        path
        if path.name.startswith(_HIDDEN)
        else path.rename(path.with_name(f"{_HIDDEN}old-{path.name}"))
        for path in list(paths)
        if path.exists()
    ]


def _checkpoint(model: WGAN) -> tf.train.Checkpoint:
    """What is saved. The names are part of the file format."""
    texture = {}
    if model.texture_critic is not None:
        texture["texture_critic"] = model.texture_critic
    return tf.train.Checkpoint(
        generator=model.generator,
        critic=model.critic,
        ema_generator=model.ema_generator,
        generator_optimizer=model.generator_optimizer,
        critic_optimizer=model.critic_optimizer,
        augment_p=model.augment_p,
        **texture,
    )
