"""One device or many: what `train.strategy` means here, on `tf.distribute`.

With `multiworker`, TF_CONFIG names the workers and which of them this process
is; the first one is the chief, who alone writes the run (all workers see its
folder). A worker that is lost ends the others: start all of them again with
--resume.
"""

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from stftgan_tf.config import Config
from stftgan_tf.errors import UserError

# Seconds after which a worker that does not answer is given up.
_TIMEOUT_SECS = 60.0


@dataclasses.dataclass(frozen=True)
class Devices:
    """Where a training runs.

    Attributes:
      strategy: of `tf.distribute`.
      worker: which of the workers this process is.
      chief: whether it is the one that writes.
    """

    strategy: tf.distribute.Strategy
    worker: int = 0

    @property
    def chief(self) -> bool:
        """Whether this process writes the run."""
        return self.worker == 0


def open_strategy(config: Config) -> Devices:
    """Opens what `train.strategy` names.

    Raises:
      UserError: if TF_CONFIG is missing or is no JSON of workers, or the
        batch cannot be divided among the replicas.
    """
    kind = config.train.strategy
    if kind == "multiworker":
        devices = _multiworker()
    elif kind == "mirrored":
        devices = Devices(tf.distribute.MirroredStrategy(_local_devices()))
    else:
        devices = Devices(tf.distribute.get_strategy())
    replicas = devices.strategy.num_replicas_in_sync
    group = replicas * config.model.minibatch_stddev
    if config.train.batch_size % group:
        raise UserError(
            f"train.batch_size is {config.train.batch_size}; expected a "
            f"multiple of {group}: {replicas} replicas times "
            "model.minibatch_stddev"
        )
    return devices


@contextlib.contextmanager
def worker_loss_as_error() -> Iterator[None]:
    """Says that a worker was lost when talking to it fails.

    Raises:
      UserError: in place of TensorFlow's UnavailableError and its like.
    """
    try:
        yield
    except (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
    ) as error:
        raise UserError(
            "another worker was lost; start all workers again with --resume"
        ) from error


def wait_for(path: Path) -> None:
    """Until the chief has made the run's folder, or a file in it.

    Raises:
      UserError: if that takes longer than a minute.
    """
    end = time.monotonic() + _TIMEOUT_SECS
    while not path.exists():
        if time.monotonic() > end:
            raise UserError(
                f"the chief made no {path}; do all workers see its folder?"
            )
        time.sleep(0.1)


def _local_devices() -> list[str]:
    """This machine's GPUs; without any, its logical CPU devices."""
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    return [device.name for device in tf.config.list_logical_devices(kind)]


def _multiworker() -> Devices:
    text = os.environ.get("TF_CONFIG", "")
    try:
        found = json.loads(text)
        workers, task = found["cluster"]["worker"], found["task"]
        if task["type"] != "worker" or not 0 <= task["index"] < len(workers):
            raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"train.strategy is multiworker and TF_CONFIG is {text!r}; "
            'expected {"cluster": {"worker": ["host:port", ...]}, "task": '
            '{"type": "worker", "index": 0}}'
        ) from error
    options = tf.distribute.experimental.CommunicationOptions(
        timeout_seconds=_TIMEOUT_SECS
    )
    strategy = tf.distribute.MultiWorkerMirroredStrategy(
        communication_options=options
    )
    return Devices(strategy, task["index"])
