"""Runs a training on one device or many, by `tf.distribute`.

With `train.strategy: multiworker`, TF_CONFIG names the workers and says which
of them this process is. The first one is the chief: it alone writes the run,
in a directory that all workers can read. If a worker is lost, the others end;
start all of them again with --resume.
"""

import contextlib
import dataclasses
import json
import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import tensorflow as tf

from stftgan_tf.config import Config
from stftgan_tf.errors import UserError

_LOG = logging.getLogger(__name__)

# A worker that does not answer for so long counts as lost.
_TIMEOUT_SECS = 60.0


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices of a training.

    Attributes:
      strategy: of `tf.distribute`.
      worker: index of this process among the workers.
      addresses: `host:port` of each worker, if there are several.
    """

    strategy: tf.distribute.Strategy
    worker: int = 0
    addresses: tuple[str, ...] = ()

    @property
    def chief(self) -> bool:
        """Whether this process writes the run."""
        return self.worker == 0


def open_strategy(config: Config) -> Devices:
    """Opens the strategy that `train.strategy` names.

    Raises:
      UserError: if TF_CONFIG is missing or malformed, or the batch cannot be
        divided among the replicas.
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
            f"model.minibatch_stddev ({config.model.minibatch_stddev})"
        )
    return devices


@contextlib.contextmanager
def worker_loss_as_error(addresses: Sequence[str]) -> Iterator[None]:
    """Turns a failure to reach another worker into one clear error.

    Args:
      addresses: of the workers.

    Raises:
      UserError: in place of TensorFlow's UnavailableError and similar errors.
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
            f"lost the connection to {_lost_worker(str(error), addresses)}; "
            "start all workers again with --resume"
        ) from error


def wait_for(path: Path) -> None:
    """Waits until the chief has created a file or directory.

    Raises:
      UserError: if that takes longer than a minute.
    """
    end = time.monotonic() + _TIMEOUT_SECS
    while not path.exists():
        if time.monotonic() > end:
            raise UserError(
                f"the chief did not create {path}; can all workers read this "
                "directory?"
            )
        time.sleep(0.1)


def _local_devices() -> list[str]:
    """This machine's GPUs, or its logical CPU devices if it has none."""
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    return [device.name for device in tf.config.list_logical_devices(kind)]


def _multiworker() -> Devices:
    options = tf.distribute.experimental.CommunicationOptions(
        timeout_seconds=_TIMEOUT_SECS
    )
    worker, addresses = _parse(os.environ.get("TF_CONFIG", ""))
    # TensorFlow waits for all workers, and does not say so.
    _LOG.info("worker %d waits for all of: %s", worker, ", ".join(addresses))
    strategy = tf.distribute.MultiWorkerMirroredStrategy(
        communication_options=options
    )
    return Devices(strategy, worker, addresses)


def _lost_worker(message: str, addresses: Sequence[str]) -> str:
    """The worker that TensorFlow's message is about, with its address."""
    match = re.search(r"/job:worker/(?:replica:0/)?task:(\d+)", message)
    if not match or int(match[1]) >= len(addresses):
        return "another worker"
    return f"worker {match[1]} ({addresses[int(match[1])]})"


def _parse(tf_config: str) -> tuple[int, tuple[str, ...]]:
    """Index of this process among the workers, and the workers' addresses."""
    try:
        cluster = json.loads(tf_config)
        workers, task = cluster["cluster"]["worker"], cluster["task"]
        if task["type"] != "worker" or not 0 <= task["index"] < len(workers):
            raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"train.strategy is multiworker and TF_CONFIG is {tf_config!r}; "
            'expected {"cluster": {"worker": ["host:port", ...]}, "task": '
            '{"type": "worker", "index": 0}}'
        ) from error
    return task["index"], tuple(workers)
