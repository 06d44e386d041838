"""Where the log of a training goes, and what it says at the start."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from stftgan_tf.config import Config
from stftgan_tf.data.dataset import Shards
from stftgan_tf.models import networks
from stftgan_tf.models.devices import resolve_precision
from stftgan_tf.models.wgan import WGAN

_ROOT = logging.getLogger("stftgan_tf")
_LOG = logging.getLogger(__name__)


@contextlib.contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Appends the log to a file."""
    raise_exceptions = logging.raiseExceptions
    # A full disk must not mask the original error.
    logging.raiseExceptions = False
    try:
        with _added(logging.FileHandler(path)):
            yield
    finally:
        logging.raiseExceptions = raise_exceptions


@contextlib.contextmanager
def log_to_stderr() -> Iterator[None]:
    """Shows the log on stderr, once even if a library configures logging."""
    propagate, _ROOT.propagate = _ROOT.propagate, False
    try:
        with _added(logging.StreamHandler()):
            yield
    finally:
        _ROOT.propagate = propagate


@contextlib.contextmanager
def _added(handler: logging.Handler) -> Iterator[None]:
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s"))
    level = _ROOT.level
    _ROOT.addHandler(handler)
    _ROOT.setLevel(logging.INFO)
    try:
        yield
    finally:
        _ROOT.setLevel(level)
        _ROOT.removeHandler(handler)
        handler.close()


def log_start(
    model: WGAN, config: Config, shards: Shards, replicas: int
) -> None:
    """Logs the data, the sizes and costs of the networks, and the devices."""
    _LOG.info(
        "networks %s, loss %s: %d training windows of shape %s, %d evaluation "
        "windows",
        config.model.networks,
        config.train.loss,
        shards.windows("train"),
        config.window_shape,
        shards.windows("eval"),
    )
    if not shards.windows("eval"):
        _LOG.warning(
            "there are no evaluation windows, so the model cannot be "
            "evaluated or blessed; change `split` in the config and "
            "preprocess again"
        )
    learning = model.generator, model.critic, model.texture_critic
    for network in filter(None, learning):
        _LOG.info(
            "%s: %s parameters, %s multiply-adds per window",
            network.name,
            f"{network.count_params():,}",
            f"{networks.macs(network):,}",
        )
    gpus = len(tf.config.list_physical_devices("GPU"))
    _LOG.info(
        "precision: %s (resolved to %s); jit_compile: %s (resolved to %s: %s); "
        "%d replicas",
        config.train.precision,
        resolve_precision(config),
        config.train.jit_compile,
        str(model.jit_compile).lower(),
        f"{gpus} GPUs" if gpus else "no GPU",
        replicas,
    )
