"""Trains a WGAN on the shards that pipeline.preprocess wrote.

A run is a folder: config.yaml, manifest.json (of the data), metrics.jsonl,
log.txt, samples/, checkpoints/, tensorboard/, and condition.npz of a model
that learns labels or clusters. Ctrl-C saves a checkpoint and
ends; --resume goes on from the newest one, bit for bit as if never stopped.
"""

import argparse
import contextlib
import json
import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from stftgan_tf import cli
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.data import dataset
from stftgan_tf.dsp import features
from stftgan_tf.errors import UsageError, UserError
from stftgan_tf.files import held, write_atomically
from stftgan_tf.metrics import embedding
from stftgan_tf.models import augment, condition, networks, wgan
from stftgan_tf.progress import clock
from stftgan_tf.training import callbacks, checkpoints, distribute

EXAMPLE = (
    "python -m stftgan_tf.train --config configs/digits8k.yaml "
    "--data tfrecords/digits --run runs/digits --minutes 30"
)

_LOG = logging.getLogger("stftgan_tf")

# Training windows that are held in memory to be compared with, and to find
# clusters among.
_WATCHED = 8192


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    return cli.run_command(_run, _parser().parse_args(argv))


def build(
    config: Config,
    moments: features.Moments | None = None,
    classes: int = 0,
) -> wgan.WGAN:
    """A compiled model with fresh weights, drawn from `train.seed`.

    Args:
      config: of the run.
      moments: of the data, as `networks.build_generator` and augmentation
        take them.
      classes: labels or clusters of a conditional model.
    """
    changes = None
    if config.augment.target:
        changes = augment.Augment(config, moments)
    model = wgan.WGAN(
        generator=networks.build_generator(config, classes, moments),
        critic=networks.build_critic(config, classes),
        ema_generator=networks.build_generator(config, classes, moments),
        config=config,
        changes=changes,
    )
    model.compile(jit_compile=resolve_jit(config))
    return model


def resolve_jit(config: Config) -> bool:
    """What `train.jit_compile` means here.

    XLA on a CPU is several times slower than the plain graph for the double
    backward pass of these convolutions; it cannot compile a step over several
    devices.
    """
    wish = config.train.jit_compile
    if config.train.strategy != "none":
        return False
    if wish == "auto":
        return bool(tf.config.list_physical_devices("GPU"))
    return wish == "true"


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    config_lib.add_arguments(parser, default="digits8k")
    cli.add_data(parser)
    parser.add_argument(
        "--run",
        type=cli.local_path,
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
        help="minutes in all, resumed ones included, unless the steps "
        "are done before",
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
    _check_bounds(args, config)
    run = args.run or Path("runs", Path(args.data).resolve().name)
    devices = distribute.open_strategy(config)
    shards = dataset.open_shards(args.data, config)
    steps = args.steps or config.train.steps
    return train(config, shards, run, devices, steps, args.minutes, args.resume)


def train(
    config: Config,
    shards: dataset.Shards,
    run: Path,
    devices: distribute.Devices,
    steps: int,
    minutes: float | None = None,
    resume: bool = False,
) -> int:
    """Trains in a folder; returns the exit code, 130 if interrupted.

    Args:
      config: of the run.
      shards: an opened data set.
      run: the folder.
      devices: of `distribute.open_strategy`.
      steps: generator updates in all, resumed ones included.
      minutes: in all, too.
      resume: whether to go on with the run that is in the folder.

    Raises:
      UserError: if the folder or the data set cannot be used.
    """
    if shards.windows("train") < 2:
        raise UserError(
            f"{shards.root} holds {shards.windows('train')} training windows; "
            "expected at least 2"
        )
    with contextlib.ExitStack() as stack:
        if devices.chief:
            _check_run(run, config, shards, resume)
            run.mkdir(parents=True, exist_ok=True)
            told = f"another training owns {run}"
            stack.enter_context(held(run / ".lock", told))
        log = run / (
            "log.txt" if devices.chief else f"log-{devices.worker}.txt"
        )
        distribute.wait_for(run)
        stack.enter_context(_logging_to(log))
        stack.enter_context(dataset.corrupt_shard_as_error(shards))
        if config.train.strategy == "multiworker":
            stack.enter_context(distribute.worker_loss_as_error())
        stack.enter_context(devices.strategy.scope())
        training = _Training(config, shards, run, devices)
        return training.go(steps, minutes)


def _check_bounds(args: argparse.Namespace, config: Config) -> None:
    for name in ("steps", "minutes"):
        value = getattr(args, name)
        if value is not None and not value > 0:
            raise UsageError(f"--{name} is {value}; expected more than 0")
    steps, many = args.steps or config.train.steps, config.train
    if steps % many.steps_per_execution:
        raise UsageError(
            f"{steps} steps; expected a multiple of "
            f"train.steps_per_execution, {many.steps_per_execution}"
        )
    if args.minutes is not None and many.strategy == "multiworker":
        raise UsageError(
            "--minutes would end the workers at different steps; use --steps"
        )


def _check_run(
    run: Path, config: Config, shards: dataset.Shards, resume: bool
) -> None:
    """Raises UserError where this training has no business in the folder."""
    known = run / "config.yaml"
    if not known.is_file():
        if resume:
            raise UserError(f"{run} holds no run to resume")
        if checkpoints.all_of(run / "checkpoints"):
            raise UserError(
                f"{run} holds checkpoints and no config.yaml, which would tell "
                "what they are of; remove it, or choose another --run"
            )
        return
    theirs, ours = config_lib.load(str(known)).to_dict(), config.to_dict()
    for section in config_lib.JUDGEMENT_SECTIONS:
        del theirs[section], ours[section]
    dataset.check_same(f"run {run}", theirs, ours)
    if dataset.read_manifest(run / "manifest.json") != shards.manifest:
        raise UserError(
            f"run {run} was trained on other shards than {shards.root}"
        )
    if not resume:
        raise UserError(
            f"{run} holds a run already; use --resume to go on with it, or "
            "another --run"
        )


def _claim(
    run: Path,
    config: Config,
    shards: dataset.Shards,
    found: condition.Condition | None,
) -> None:
    """Writes what identifies the run; `config.yaml` last."""
    if found:
        found.save(run / condition.FILE)
    manifest = json.dumps(shards.manifest, indent=1) + "\n"
    write_atomically(run / "manifest.json", manifest.encode())
    write_atomically(run / "config.yaml", config.to_yaml().encode())


class _Training:
    """A model, its data and what watches it."""

    def __init__(
        self,
        config: Config,
        shards: dataset.Shards,
        run: Path,
        devices: distribute.Devices,
    ):
        self._config, self._shards, self._run = config, shards, run
        self._devices = devices
        self._windows, _ = dataset.load_windows(
            shards, config, "train", _WATCHED
        )
        self._space = embedding.fit(self._windows, shards.moments, config)
        self._condition = self._find_condition()
        classes = self._condition.classes if self._condition else 0
        self._model = build(config, shards.moments, classes)
        self._state = checkpoints.restore_newest(
            run / "checkpoints", self._model
        )
        _announce(self._model, config, shards, devices, self._state.step)

    def go(self, steps: int, minutes: float | None) -> int:
        """Trains to a bound; returns the exit code."""
        step, secs = self._state.step, self._state.secs
        over = step >= steps or (minutes is not None and secs >= 60 * minutes)
        if over:
            _LOG.info("already trained for %d steps, %s", step, clock(secs))
            if self._has_ended(step) or not self._devices.chief:
                return 0
        bounds = callbacks.Budget(step, secs, steps, minutes)
        report, preview, saver, watch = self._callbacks(bounds)
        hooks = [h for h in (bounds, report, watch, preview, saver) if h]
        if over:
            # It was killed before it looked at its end.
            for hook in hooks:
                hook.set_model(self._model)
            self._look_at_the_end(step, watch, saver)
            preview.show()
            return 0
        with _stopped_by_signals(bounds):
            self._fit(bounds, steps, hooks)
            while watch.collapsed:
                saver.roll_back()
                for hook in (bounds, report, preview):
                    hook.go_back()
                self._fit(bounds, steps, hooks)
        if self._devices.chief:
            saver.save()
        # Keras takes some errors for the end of the data.
        if bounds.step < steps and not self._model.stop_training:
            raise UserError(
                f"the training ended at step {bounds.step} of {steps}: its "
                f"data could not be read on, or {self._run} not be written"
            )
        if self._devices.chief:
            if bounds.stopped_by != "interrupted" or bounds.step >= steps:
                self._look_at_the_end(bounds.step, watch, saver)
            preview.show()
        _LOG.info(
            "%s at step %d after %s, weights %s: %s",
            bounds.stopped_by or "done",
            bounds.step,
            clock(bounds.secs),
            self._model.digest(),
            self._run,
        )
        return 130 if bounds.stopped_by == "interrupted" else 0

    def _look_at_the_end(
        self, step: int, watch: callbacks.Watch, saver: callbacks.Checkpoints
    ) -> None:
        """The last step may be the best.

        The checkpoint to resume from is saved before: a training that goes on
        must not know of it.
        """
        if step % self._config.watch.every:
            watch.look()
            saver.save_best(last=True)

    def _has_ended(self, step: int) -> bool:
        """Whether a training that is over was not killed in its last moment."""
        shown = callbacks.preview_path(self._run, step).exists()
        return shown and callbacks.has_watched(self._run, step)

    def _callbacks(self, bounds: callbacks.Budget):
        """Report, preview, saver, watch; off the chief no preview and saver."""
        config, run, chief = self._config, self._run, self._devices.chief
        writer = preview = saver = None
        if chief:
            writer = tf.summary.create_file_writer(str(run / "tensorboard"))
            preview = callbacks.Preview(
                run,
                config,
                bounds,
                writer,
                self._shards.moments,
                self._inputs(callbacks.SHOWN),
            )
        report = callbacks.Report(run, config, bounds, writer)
        watch = callbacks.Watch(
            config,
            bounds,
            report,
            self._space,
            self._windows,
            self._inputs(config.watch.windows),
        )
        watch.state |= self._state.watch
        if chief:
            saver = callbacks.Checkpoints(run, config, bounds, watch)
        return report, preview, saver, watch

    def _fit(self, bounds: callbacks.Budget, steps: int, hooks: list) -> None:
        """Keras' own loop, one epoch of the steps that are left."""
        train = self._config.train
        batches = dataset.training_batches(
            self._shards,
            self._config,
            bounds.step * train.batch_size * train.critic_steps,
            self._condition.of if self._condition else None,
        )
        self._model.fit(
            batches,
            epochs=1,
            steps_per_epoch=steps - bounds.step,
            shuffle=False,
            verbose=0,
            callbacks=hooks,
        )

    def _find_condition(self) -> condition.Condition | None:
        """Found once and kept in the run: the export needs it, too.

        The chief claims the run with it, once nothing can be wrong with the
        data, and all others take what it has found.
        """
        claimed, found = self._run / "config.yaml", None
        if self._devices.chief and not claimed.is_file():
            found = condition.find(
                self._config,
                self._shards,
                self._windows,
                self._space.log_mel,
            )
        else:
            distribute.wait_for(claimed)
            kind = self._config.model.condition
            if kind != "none":
                log_mel = self._space.log_mel if kind == "cluster" else None
                found = condition.load(self._run / condition.FILE, log_mel)
        if self._devices.chief:
            _claim(self._run, self._config, self._shards, found)
        return found

    def _inputs(self, count: int) -> list[tf.Tensor]:
        """Fixed inputs of the generator; apart from those of training."""
        seed, latent_dim = (
            self._config.train.seed,
            self._config.model.latent_dim,
        )
        latents = tf.random.stateless_normal(
            [count, latent_dim], [seed, -1], alg="philox"
        )
        if not self._condition:
            return [latents]
        return [latents, tf.constant(self._condition.draw(count, seed))]


def _announce(
    model: wgan.WGAN,
    config: Config,
    shards: dataset.Shards,
    devices: distribute.Devices,
    step: int,
) -> None:
    _LOG.info(
        "%s, %s: %d training windows of %s, %d held out",
        config.model.networks,
        config.train.loss,
        shards.windows("train"),
        config.window_shape,
        shards.windows("eval"),
    )
    if not shards.windows("eval"):
        _LOG.warning(
            "no windows are held out: nothing can be evaluated or blessed; see "
            "split of the config, and preprocess again"
        )
    for network in (model.generator, model.critic):
        _LOG.info(
            "%s: %s parameters, %s multiply-adds a window",
            network.name,
            f"{network.count_params():,}",
            f"{networks.macs(network):,}",
        )
    _LOG.info(
        "%s, jit_compile %s became %s (%d GPUs), %d replicas",
        config.train.precision,
        config.train.jit_compile,
        model.jit_compile,
        len(tf.config.list_physical_devices("GPU")),
        devices.strategy.num_replicas_in_sync,
    )
    if step:
        _LOG.info("resumed at step %d", step)


@contextlib.contextmanager
def _stopped_by_signals(bounds: callbacks.Budget) -> Iterator[None]:
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
def _logging_to(path: Path) -> Iterator[None]:
    """Logs to stderr and to the run's log."""
    # A log on a full disk must not hide, under its own, what is told of it.
    logging.raiseExceptions = False
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
    cli.leave(main())
