"""Trains a model in the directory of a run.

A run contains config.yaml, manifest.json (of the data), metrics.jsonl,
log.txt, sessions.jsonl, samples/, checkpoints/, tensorboard/, condition.npz if
the model learns labels or clusters, and init_from.json if it was fine-tuned. A
resumed training equals an uninterrupted one bit for bit on a CPU.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from stftgan_tf import run_files
from stftgan_tf.config import Config
from stftgan_tf.data import dataset, integrity
from stftgan_tf.data.dataset import Shards
from stftgan_tf.errors import UsageError, UserError
from stftgan_tf.files import locked
from stftgan_tf.metrics import embedding
from stftgan_tf.models import condition as condition_lib
from stftgan_tf.models.build import build_wgan
from stftgan_tf.models.condition import Condition
from stftgan_tf.progress import clock
from stftgan_tf.training import (
    checkpoints,
    distribute,
    logs,
    metrics_log,
    preview,
    run_dir,
    warm_start,
)
from stftgan_tf.training.budget import Budget, stopped_by_signals
from stftgan_tf.training.callbacks import Callbacks
from stftgan_tf.training.distribute import Devices
from stftgan_tf.training.limits import Limits, limits_of
from stftgan_tf.training.probe import probe_of
from stftgan_tf.training.reporter import Reporter
from stftgan_tf.training.saver import Saver
from stftgan_tf.training.variety import VarietyMeter
from stftgan_tf.training.watch import Watch

_LOG = logging.getLogger(__name__)

# Training windows that are kept in memory: the watch compares with them, and
# clusters are computed from them.
REFERENCE_WINDOWS = 8192


@dataclasses.dataclass(frozen=True)
class Result:
    """How a training ended.

    Attributes:
      step: generator updates in total.
      secs: seconds trained in total.
      interrupted: whether a signal stopped it.
    """

    step: int
    secs: float
    interrupted: bool = False


def train(
    config: Config,
    data: str | Path | Shards,
    run: str | Path,
    steps: int | None = None,
    minutes: float | None = None,
    resume: bool = False,
    init_from: str | Path | None = None,
) -> Result:
    """Trains a model, or continues a training.

    Args:
      config: of the run.
      data: directory or address of the data set, or an opened one.
      run: directory of the run.
      steps: generator updates in total, including those before a resume;
        `train.steps` by default.
      minutes: minutes in total, or None for no limit.
      resume: continue the run in the directory from its newest checkpoint.
      init_from: run or export whose weights a new run starts with.

    Raises:
      UsageError: if steps or minutes do not suit the config, or `resume` and
        `init_from` are combined.
      UserError: if the run or the data set cannot be used, variety collapses,
        or a value is not finite.
    """
    limits, run = limits_of(config, steps, minutes), Path(run)
    if resume and init_from:
        raise UsageError(
            "--init_from is for a new run; --resume continues a run with its "
            "own weights"
        )
    # Several workers must connect before TensorFlow does anything else.
    devices = distribute.open_strategy(config)
    shards = data
    if not isinstance(data, Shards):
        shards = dataset.open_shards(data, config)
    if shards.windows("train") < 2:
        raise UserError(
            f"{shards.root} contains {shards.windows('train')} training "
            "windows; expected at least 2"
        )
    source = None
    if init_from:
        source = warm_start.load(Path(init_from))
        warm_start.check(source, config)
    with _session(config, shards, run, devices, resume):
        if devices.chief and not resume:
            warm_start.write_record(run, source)
        return _Training(config, shards, run, devices).train_to(limits)


@contextlib.contextmanager
def _session(
    config: Config, shards: Shards, run: Path, devices: Devices, resume: bool
) -> Iterator[None]:
    """Owns the run, logs to it, and explains errors of data and workers."""
    with contextlib.ExitStack() as stack:
        log = run / f"log-{devices.worker}.txt"
        if devices.chief:
            log = run / "log.txt"
            run_dir.check_usable(run, config, shards, resume)
            run.mkdir(parents=True, exist_ok=True)
            message = f"another training is using {run}"
            stack.enter_context(locked(run / ".lock", message))
        distribute.wait_for(run)
        stack.enter_context(logs.log_to_file(log))
        stack.enter_context(integrity.corrupt_shard_as_error(shards))
        if config.train.strategy == "multiworker":
            stack.enter_context(
                distribute.worker_loss_as_error(devices.addresses)
            )
        stack.enter_context(devices.strategy.scope())
        yield


class _Training:
    """A model, its data and the state of its training."""

    def __init__(
        self, config: Config, shards: Shards, run: Path, devices: Devices
    ):
        """Builds the model and restores the newest checkpoint, if any."""
        self._config, self._shards, self._run = config, shards, run
        self._devices = devices
        self._windows, _ = dataset.load_windows(
            shards, config, "train", REFERENCE_WINDOWS
        )
        self._embed = embedding.fit(self._windows, shards.moments, config)
        self._condition = self._load_condition()
        classes = self._condition.classes if self._condition else 0
        self._model = build_wgan(config, shards.moments, classes)
        directory = run / checkpoints.DIRECTORY
        if not checkpoints.all_of(directory):
            self._start_warm()
        self._state = checkpoints.restore_newest(directory, self._model)
        replicas = devices.strategy.num_replicas_in_sync
        logs.log_start(self._model, config, shards, replicas)

    def train_to(self, limits: Limits) -> Result:
        """Trains until a limit is reached or a signal arrives."""
        step, secs = self._state.step, self._state.secs
        if limits.reached(step, secs):
            _LOG.info("already trained for %d steps, %s", step, clock(secs))
            if self._devices.chief and not self._has_ended(step):
                # It was killed before it had measured its last step.
                self._end(self._callbacks(limits), limits)
            return Result(step, secs)
        if step:
            _LOG.info("resumed at step %d", step)
        callbacks = self._callbacks(limits)
        budget = callbacks.budget
        if self._devices.chief:
            run_files.add_session(self._run, step, self._shards.root)
        with stopped_by_signals(budget):
            self._fit(callbacks, limits.steps)
        if callbacks.saver:
            callbacks.saver.save()
        # Keras treats some errors of the input as its end.
        if budget.step < limits.steps and not budget.stop_reason:
            raise UserError(
                f"the training ended at step {budget.step} of {limits.steps}, "
                f"because its data could not be read or {self._run} could not "
                "be written"
            )
        if self._devices.chief:
            self._end(callbacks, limits)
        _LOG.info(
            "%s at step %d after %s, weights %s: %s",
            budget.stop_reason or "done",
            budget.step,
            clock(budget.secs),
            self._model.digest(),
            self._run,
        )
        return Result(budget.step, budget.secs, budget.interrupted)

    def _fit(self, callbacks: Callbacks, steps: int) -> None:
        """Runs Keras' loop, as one epoch of the remaining steps."""
        train, step = self._config.train, callbacks.budget.step
        batches = dataset.training_batches(
            self._shards,
            self._config,
            step * train.batch_size * train.critic_steps,
            self._condition.classify if self._condition else None,
        )
        self._model.fit(
            batches,
            epochs=1,
            steps_per_epoch=steps - step,
            shuffle=False,
            verbose=0,
            callbacks=list(callbacks),
        )

    def _end(self, callbacks: Callbacks, limits: Limits) -> None:
        """Measures the last step, which may be the best, and previews it.

        The checkpoint to resume from is saved before: an uninterrupted longer
        training would not have measured this step.
        """
        budget = callbacks.budget
        if callbacks.watch.model is None:
            for callback in callbacks:
                callback.set_model(self._model)
        complete = budget.step >= limits.steps or not budget.interrupted
        if complete and budget.step % self._config.watch.every:
            callbacks.watch.measure()
            callbacks.saver.save_best(last=True)
        callbacks.preview.write()

    def _has_ended(self, step: int) -> bool:
        """Whether the last step has been measured and previewed."""
        shown = preview.preview_path(self._run, step).exists()
        return shown and metrics_log.has_measurement(self._run, step)

    def _callbacks(self, limits: Limits) -> Callbacks:
        config, run, state = self._config, self._run, self._state
        writer = None
        if self._devices.chief:
            writer = tf.summary.create_file_writer(str(run / "tensorboard"))
        budget = Budget(state.step, state.secs, limits)
        reporter = Reporter(run, config, budget, writer)
        meter = VarietyMeter(config, self._embed, self._windows)
        probe = probe_of(config, self._condition, config.watch.windows)
        watch = Watch(config, budget, reporter, meter, probe)
        watch.state = state.watch
        if not self._devices.chief:
            return Callbacks(budget, reporter, watch)
        return Callbacks(
            budget,
            reporter,
            watch,
            preview.Preview(
                run,
                config,
                budget,
                writer,
                self._shards.moments,
                probe_of(config, self._condition, preview.NUM_WINDOWS),
            ),
            Saver(run, config, budget, watch),
        )

    def _start_warm(self) -> None:
        """Takes the weights of another model, if the run started from one."""
        record = warm_start.read_record(self._run)
        if record:
            warm_start.apply(
                warm_start.load(Path(record["path"])),
                self._model,
                self._config,
                self._shards,
                self._condition,
            )

    def _load_condition(self) -> Condition | None:
        """Labels or clusters: computed once, then read from the run.

        The chief computes them and writes the identity of the run, once
        nothing can be wrong with the data; all other workers read the result.
        """
        config, embed = self._config, self._embed
        identity = self._run / run_dir.CONFIG
        condition = None
        if self._devices.chief and not identity.is_file():
            condition = condition_lib.find(
                config, self._shards, self._windows, embed.log_mel
            )
        else:
            distribute.wait_for(identity)
            kind = config.model.condition
            if kind != "none":
                log_mel = embed.log_mel if kind == "cluster" else None
                path = self._run / condition_lib.FILE
                condition = condition_lib.load(path, log_mel)
        if self._devices.chief:
            run_dir.write_identity(self._run, config, self._shards, condition)
        return condition
