"""Checkpoints of a run: folders that appear by one rename.

checkpoints/step-00001000/state.json  step, seconds trained, state of the watch
                          weights.*   tf.train.Checkpoint
            best-00000500/            the same, of the best watch so far

After a rollback names end in -r1, -r2 and so on, so that none is written
twice.
"""

import dataclasses
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import keras
import tensorflow as tf

from stftgan_tf.errors import UserError, first_line
from stftgan_tf.models import wgan
from stftgan_tf.models.wgan import WGAN

_LOG = logging.getLogger(__name__)
_STEP, _BEST, _LAST = "step-", "best-", "last-"
# Of what is being written or removed.
_HIDDEN = ".incomplete-"
_NAME = re.compile(r"(?:step|best|last)-(\d{8,})(?:-r(\d+))?")

# What TensorFlow and JSON raise for missing, cut or altered files.
_DAMAGE = (
    tf.errors.OpError,
    IndexError,
    KeyError,
    OSError,
    TypeError,
    ValueError,
)

_T = TypeVar("_T")


class _OtherNetworks(Exception):
    """A checkpoint lacks weights of the networks, or has them otherwise."""


@dataclasses.dataclass(frozen=True)
class State:
    """What a checkpoint tells besides weights.

    Attributes:
      step: generator updates so far.
      secs: seconds trained so far.
      watch: `callbacks.Watch.state`.
    """

    step: int = 0
    secs: float = 0.0
    watch: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        """Whether it was watched, and that was no alarm."""
        seen = self.watch.get("seen", {}).get("step")
        return seen == self.step and not self.watch["alarms"]


def save(folder: Path, model: WGAN, state: State, keep: int) -> Path:
    """Writes a checkpoint and removes old ones, and those of later steps.

    (Which a training that went back does again, or could not read.) Also the
    one of an end that is none any more.

    Args:
      folder: the run's `checkpoints`.
      model: compiled.
      state: of the training.
      keep: how many of the newest stay; the newest healthy one always does.

    Returns:
      The checkpoint's folder.

    Raises:
      UserError: if it cannot be written (a full disk); earlier ones stay.
    """
    target = folder / _name(_STEP, model, state)
    _write(target, model, state)
    later = newest_first(folder)
    _remove(path for path in later if _place(path) > _place(target))
    _remove(newest_first(folder, _LAST))
    old = newest_first(folder)[keep:]
    if not any(_healthy(path) for path in newest_first(folder)[:keep]):
        spared = next((path for path in old if _healthy(path)), None)
        old = [path for path in old if path != spared]
    _remove(old)
    return target


def save_best(
    folder: Path, model: WGAN, state: State, last: bool = False
) -> Path:
    """Writes the best checkpoint so far, which replaces the one before.

    At a training's `last` step, which an uninterrupted longer one would not
    have looked at, it lies beside that one, until the training goes on and
    saves another.

    Raises:
      UserError: as `save`.
    """
    prefix = _LAST if last else _BEST
    target = folder / _name(prefix, model, state)
    _write(target, model, state)
    older = newest_first(folder, prefix) + newest_first(folder, _LAST)
    _remove(path for path in older if path != target)
    return target


def newest_first(folder: Path, prefix: str = _STEP) -> list[Path]:
    """The checkpoints of a run."""
    # Not what somebody has put there, under a name of his own.
    found = [p for p in folder.glob(f"{prefix}*") if _NAME.fullmatch(p.name)]
    return sorted(found, key=_place, reverse=True)


def all_of(folder: Path) -> list[Path]:
    """The newest first, then the best."""
    return newest_first(folder) + newest_first(folder, _BEST)


def restore_newest(folder: Path, model: WGAN) -> State:
    """Restores the newest checkpoint that is whole, or else the best one.

    Args:
      folder: the run's `checkpoints`.
      model: compiled; gets weights, averages and the optimizers' state.

    Returns:
      The state; that of step 0 where there is no checkpoint.

    Raises:
      UserError: if there are checkpoints and none can be read.
    """
    paths = all_of(folder)
    if not paths:
        return State()
    return _first(folder, paths, lambda path: _read(path, _objects(model)))


def restore_healthy(folder: Path, model: WGAN) -> State | None:
    """Restores the newest checkpoint whose variety was healthy.

    The best one was.

    Returns:
      Its state, or None where there is no such checkpoint.
    """
    healthy = [path for path in newest_first(folder) if _healthy(path)]
    healthy = sorted(
        healthy + newest_first(folder, _BEST), key=_place, reverse=True
    )
    if not healthy:
        return None
    return _first(folder, healthy, lambda path: _read(path, _objects(model)))


def restore_average(folder: Path, generator: keras.Model) -> State:
    """Restores only the averaged generator of the best checkpoint.

    That is the one of the last step, where that was the best; where there is
    no best one, or it is damaged: the newest.

    Raises:
      UserError: if there is no checkpoint, or none can be read.
    """
    checkpoint = tf.train.Checkpoint(ema_generator=generator)
    prefixes = (_LAST, _BEST, _STEP)
    paths = [path for name in prefixes for path in newest_first(folder, name)]
    return _first(
        folder, paths, lambda path: _read(path, checkpoint, partly=True)
    )


def _first(folder: Path, paths: list[Path], read: Callable[[Path], _T]) -> _T:
    """What `read` makes of the first checkpoint that it can read."""
    for path in paths:
        try:
            return read(path)
        except _DAMAGE as error:
            reason = first_line(error)
            _LOG.warning("checkpoint %s is damaged: %s", path, reason)
        except _OtherNetworks:
            _LOG.warning(
                "checkpoint %s is of other networks than this version of the "
                "project makes: use the one it was made with",
                path,
            )
    what = "no checkpoint that can be read" if paths else "no checkpoint"
    raise UserError(f"{folder} holds {what}")


def _place(path: Path) -> tuple[int, int]:
    """Step and rollbacks of a checkpoint, as its name tells them."""
    step, rollbacks = _NAME.fullmatch(path.name).groups()
    return int(step), int(rollbacks or 0)


def _name(prefix: str, model: WGAN, state: State) -> str:
    rollbacks = wgan.value_of(model.rollbacks)
    return f"{prefix}{state.step:08d}" + (f"-r{rollbacks}" if rollbacks else "")


def _write(target: Path, model: WGAN, state: State) -> None:
    # Those of a training that was killed, too: a run has one at a time.
    _remove(target.parent.glob(f"{_HIDDEN}*"))
    staging = target.with_name(f"{_HIDDEN}{target.name}")
    staging.mkdir(parents=True)
    try:
        _objects(model).write(str(staging / "weights"))
        text = json.dumps(dataclasses.asdict(state))
        (staging / "state.json").write_text(text)
        _hide([target])
        staging.rename(target)
    except tf.errors.OpError as error:
        reason = first_line(error)
        raise UserError(f"cannot write {target}: {reason}") from error
    finally:
        _remove(target.parent.glob(f"{_HIDDEN}*"))


def _read(
    path: Path, checkpoint: tf.train.Checkpoint, partly: bool = False
) -> State:
    state = _state(path)
    try:
        status = checkpoint.read(str(path / "weights"))
        if partly:
            status.expect_partial()
        status.assert_existing_objects_matched()
    except (AssertionError, ValueError) as error:
        raise _OtherNetworks from error
    return state


def _state(path: Path) -> State:
    return State(**json.loads((path / "state.json").read_text()))


def _healthy(path: Path) -> bool:
    try:
        return _state(path).healthy
    except _DAMAGE:
        return False


def _remove(paths: Iterable[Path]) -> None:
    for path in _hide(paths):
        shutil.rmtree(path, ignore_errors=True)


def _hide(paths: Iterable[Path]) -> list[Path]:
    """Takes what exists away from its name, under which no half must stay."""
    return [
        path
        if path.name.startswith(_HIDDEN)
        else path.rename(path.with_name(f"{_HIDDEN}old-{path.name}"))
        for path in list(paths)
        if path.exists()
    ]


def _objects(model: WGAN) -> tf.train.Checkpoint:
    return tf.train.Checkpoint(
        generator=model.generator,
        critic=model.critic,
        ema_generator=model.ema_generator,
        generator_optimizer=model.generator_optimizer,
        critic_optimizer=model.critic_optimizer,
        augment_p=model.augment_p,
        rollbacks=model.rollbacks,
    )
