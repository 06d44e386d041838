"""Trains a WGAN on the shards that pipeline.preprocess wrote.

A run is a folder: config.yaml, manifest.json (of the data), metrics.jsonl,
log.txt, samples/, checkpoints/, tensorboard/. Ctrl-C saves a checkpoint and
ends; --resume goes on from the newest one, bit for bit as if never stopped.
"""

import argparse
import contextlib
import fcntl
import json
import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
import yaml

from stftgan_tf import (
    callbacks,
    checkpoints,
    cli,
    dataset,
    networks,
    wgan,
)
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config

EXAMPLE = (
    "python -m stftgan_tf.train --config configs/digits8k.yaml "
    "--data tfrecords/digits --run runs/digits --minutes 30"
)

_LOG = logging.getLogger("stftgan_tf")


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    return cli.guarded(_run, _parser().parse_args(argv))


def build(config: Config) -> wgan.WGAN:
    """A compiled model with fresh weights, drawn from `train.seed`."""
    model = wgan.WGAN(
        generator=networks.build_generator(config),
        critic=networks.build_critic(config),
        ema_generator=networks.build_generator(config),
        config=config.train,
    )
    model.compile(jit_compile=resolve_jit(config))
    return model


def resolve_jit(config: Config) -> bool:
    """What `train.jit_compile` means here.

    XLA on a CPU is several times slower than the plain graph for the double
    backward pass of these convolutions.
    """
    wish = config.train.jit_compile
    if wish == "auto":
        return bool(tf.config.list_physical_devices("GPU"))
    return wish == "true"


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    config_lib.add_arguments(parser, default="digits8k")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("tfrecords/demo"),
        help="the data set (default: tfrecords/demo)",
    )
    parser.add_argument(
        "--run",
        type=Path,
        help="the run's folder (default: runs/<name of the data>)",
    )
    parser.add_argument(
        "--steps",
        type=int,
        help="generator updates in all, resumed ones included "
        "(default: train.steps)",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        help="minutes in all, resumed ones included",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the newest checkpoint of the run",
    )
    return parser


def _run(args: argparse.Namespace) -> int:
    config = config_lib.load(args.config, args.set)
    if args.print_config:
        print(config.to_yaml(), end="")
        return 0
    for name in ("steps", "minutes"):
        value = getattr(args, name)
        if value is not None and value <= 0:
            raise cli.UsageError(f"--{name} is {value}; expected more than 0")
    run = args.run or Path("runs", args.data.resolve().name)
    shards = dataset.open_shards(args.data, config)
    if not shards.windows("train"):
        raise cli.UserError(f"{args.data} holds no training windows")
    _check_run(run, config, shards, args.resume)
    run.mkdir(parents=True, exist_ok=True)
    with (
        _locked(run),
        _logging_to(run / "log.txt"),
        dataset.damage_named(shards),
    ):
        _claim(run, config, shards)
        steps = args.steps or config.train.steps
        return _train(config, shards, run, steps, args.minutes)


def _check_run(
    run: Path, config: Config, shards: dataset.Shards, resume: bool
) -> None:
    """Raises UserError where this training has no business in the folder."""
    known = run / "config.yaml"
    if not known.is_file():
        if resume:
            raise cli.UserError(f"{run} holds no run to resume")
        return
    theirs = config_lib.load(str(known)).to_dict()
    dataset.check_same(f"run {run}", theirs, config.to_dict())
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    if manifest != shards.manifest:
        raise cli.UserError(
            f"run {run} was trained on other shards than {shards.root}"
        )
    if not resume:
        raise cli.UserError(
            f"{run} holds a run already; use --resume to go on with it, or "
            "another --run"
        )


def _claim(run: Path, config: Config, shards: dataset.Shards) -> None:
    """Writes what identifies the run; `config.yaml` last."""
    manifest = json.dumps(shards.manifest, indent=1) + "\n"
    cli.write_atomically(run / "manifest.json", manifest.encode())
    text = yaml.safe_dump(config.to_dict(), sort_keys=False)
    cli.write_atomically(run / "config.yaml", text.encode())


def _train(
    config: Config,
    shards: dataset.Shards,
    run: Path,
    steps: int,
    minutes: float | None,
) -> int:
    model = build(config)
    step, secs = checkpoints.restore_newest(run / "checkpoints", model)
    _announce(model, config, shards, step)
    if step >= steps or (minutes is not None and secs >= 60 * minutes):
        _LOG.info("already trained for %d steps, %s", step, cli.clock(secs))
        return 0
    bounds = callbacks.Bounds(step, secs, steps, minutes)
    writer = tf.summary.create_file_writer(str(run / "tensorboard"))
    report = callbacks.Report(run, config, bounds, writer)
    real, _ = dataset.load_windows(shards, config, "train", callbacks.MEASURED)
    preview = callbacks.Preview(
        run, config, bounds, writer, shards.moments, real
    )
    saver = callbacks.Checkpoints(run, config, bounds)
    consumed = step * config.train.batch_size * config.train.critic_steps
    with _stopped_by_signals(bounds):
        _fit(
            model,
            dataset.training_batches(shards, config, consumed),
            steps - step,
            [bounds, report, preview, saver],
        )
    saver.save()
    preview.show()
    _LOG.info(
        "%s at step %d after %s: %s",
        bounds.stopped_by or "done",
        bounds.step,
        cli.clock(bounds.secs),
        run,
    )
    return 130 if bounds.stopped_by == "interrupted" else 0


def _fit(model, batches, steps, hooks) -> None:
    """Keras' own loop, one epoch of the steps that are left."""
    model.fit(
        batches,
        epochs=1,
        steps_per_epoch=steps,
        shuffle=False,
        verbose=0,
        callbacks=hooks,
    )


def _announce(
    model: wgan.WGAN, config: Config, shards: dataset.Shards, step: int
) -> None:
    _LOG.info(
        "%s: generator %s parameters, critic %s; %d training windows of %s",
        config.model.networks,
        f"{model.generator.count_params():,}",
        f"{model.critic.count_params():,}",
        shards.windows("train"),
        config.window_shape,
    )
    _LOG.info(
        "jit_compile %s became %s (%d GPUs)",
        config.train.jit_compile,
        model.jit_compile,
        len(tf.config.list_physical_devices("GPU")),
    )
    if step:
        _LOG.info("resumed at step %d", step)


@contextlib.contextmanager
def _stopped_by_signals(bounds: callbacks.Bounds) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the training after its step; twice: at once."""

    def stop(number, frame):
        if bounds.stopped_by == "interrupted":
            raise KeyboardInterrupt
        _LOG.info("stopping after this step; once more to stop at once")
        bounds.stop("interrupted")

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextlib.contextmanager
def _locked(run: Path) -> Iterator[None]:
    """One training a run; the kernel lets go when we are killed."""
    with open(run / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise cli.UserError(f"another training owns {run}") from error
        yield


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Logs to stderr and to the run's log."""
    handlers = [logging.StreamHandler(), logging.FileHandler(path)]
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s"))
        _LOG.addHandler(handler)
    _LOG.setLevel(logging.INFO)
    _LOG.propagate = False
    try:
        yield
    finally:
        for handler in handlers:
            _LOG.removeHandler(handler)
            handler.close()


if __name__ == "__main__":
    sys.exit(main())
