"""The public Python API, for notebooks: `import stftgan_tf as stftgan`.

Each function does what the command of the same name does, without printing.
Paths are `str` or `Path`. Expected failures raise `stftgan_tf.errors.UserError`
(data, runs) or `ConfigError` (configs), with the command's message. Heavy
libraries are imported when a function first needs them.
"""

import importlib
import inspect
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stftgan_tf import cli
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.errors import explain_missing_packages

if TYPE_CHECKING:
    import tensorflow as tf

    from stftgan_tf.evaluation.evaluator import Evaluation
    from stftgan_tf.models.wgan import WGAN
    from stftgan_tf.saved_model.loading import LoadedModel
    from stftgan_tf.training.load_run import LoadedRun


def load_config(
    name: str | Path = "digits8k", overrides: Sequence[str] = ()
) -> Config:
    """Loads a config.

    Args:
      name: a YAML file, or the name of a shipped config.
      overrides: `section.key=value` texts, such as `train.seed=1`.

    Raises:
      ConfigError: if the config does not exist or is invalid.
    """
    return config_lib.load(str(name), overrides)


@explain_missing_packages
def preprocess(
    source: str | Path,
    output: str | Path,
    config: Config,
    pattern: str = "*",
    overwrite: bool = False,
    exclude: Sequence[str] = (),
) -> Path:
    """Cuts recordings into a data set of windows, on this machine.

    Args:
      source: a directory of recordings, a manifest, `tfds:NAME` or `demo`.
      output: directory of the data set; it appears complete or not at all.
      config: sample rate, STFT, windows and split.
      pattern: glob that the recordings' relative paths must match.
      overwrite: whether an existing data set is replaced.
      exclude: globs that the recordings' relative paths must not match.

    Returns:
      `output`.

    Raises:
      UsageError: if the source or the output cannot be used.
      UserError: if the output exists, too many recordings are unusable, or no
        training window is left.
    """
    # By name, because this package must not depend on the pipeline package.
    job = importlib.import_module("pipeline.beam.job")
    settings = job.Settings(
        pattern=pattern, overwrite=overwrite, exclude=tuple(exclude)
    )
    job.preprocess(config, str(source), str(output), settings)
    return Path(output)


@explain_missing_packages
def open_dataset(data: str | Path, config: Config) -> "tf.data.Dataset":
    """The endless stream of training batches that `train` uses.

    Args:
      data: the data set.
      config: batch size, critic steps, seed, condition.

    Returns:
      Standardised windows float32 [critic_steps * B, T, F] in [-1, 1], and
      int64 [critic_steps * B]: clusters if `model.condition` is `cluster`,
      else labels (-1 where unknown).

    Raises:
      UserError: if the data set cannot be read or does not match the config.
    """
    from stftgan_tf.data import dataset

    shards = dataset.open_shards(data, config)
    condition = _condition(shards, config)
    classes = condition.classify if condition else None
    return dataset.training_batches(shards, config, classes=classes)


@explain_missing_packages
def build(config: Config, data: str | Path | None = None) -> "WGAN":
    """A compiled Keras model with fresh weights, drawn from `train.seed`.

    `model.fit(open_dataset(data, config), steps_per_epoch=100)` trains it.
    `train` also monitors its variety, keeps checkpoints and can resume.

    Args:
      config: networks, loss and optimizers.
      data: the data set to learn. Without it the model cannot be conditional
        and does not know the level of silence, its critic has no mel bands, and
        there is no texture critic.

    Raises:
      UserError: if the data set cannot be read or does not match the config.
    """
    from stftgan_tf.data import dataset
    from stftgan_tf.errors import UserError
    from stftgan_tf.models.build import build_wgan

    if data is None:
        if config.model.condition != "none":
            raise UserError(
                f"model.condition is {config.model.condition}; pass the data "
                "set, which contains its classes"
            )
        return build_wgan(config)
    shards = dataset.open_shards(data, config)
    condition = _condition(shards, config)
    classes = condition.classes if condition else 0
    return build_wgan(config, shards.moments, classes)


@explain_missing_packages
def train(
    config: Config,
    data: str | Path,
    run: str | Path,
    steps: int | None = None,
    minutes: float | None = None,
    resume: bool = False,
    init_from: str | Path | None = None,
) -> Path:
    """Trains a model into a run directory.

    Args:
      config: the config of the run.
      data: the data set.
      run: the run directory.
      steps: total generator updates, including those before a resume;
        `train.steps` by default.
      minutes: total training time; no limit by default.
      resume: whether to continue the run that is already there.
      init_from: the run or export whose weights a new run starts with.

    Returns:
      `run`.

    Raises:
      UsageError: if steps or minutes do not fit the config, or `resume` and
        `init_from` are combined.
      UserError: if the run or the data set cannot be used, variety collapses,
        or a value is not finite.
    """
    from stftgan_tf.training import loop

    loop.train(config, data, run, steps, minutes, resume, init_from)
    return Path(run)


@explain_missing_packages
def load_run(run: str | Path) -> "LoadedRun":
    """Restores the newest checkpoint of a run, to continue or to examine it.

    Raises:
      UserError: if the run does not exist or has no readable checkpoint.
    """
    from stftgan_tf.training.load_run import load_run

    return load_run(run)


@explain_missing_packages
def export(
    run: str | Path,
    output: str | Path,
    secs: float = 5.0,
    overwrite: bool = False,
    checkpoint: str = "best",
    note: str | Path | None = None,
    format: Literal["savedmodel", "litert"] = "savedmodel",
) -> Path:
    """Exports the averaged generator of a run's checkpoint.

    Args:
      run: the run, or an export, which is converted or exported again.
      output: directory of the SavedModel, or the .tflite file; it appears
        complete or not at all.
      secs: shortest duration that `LoadedModel.long` of a SavedModel generates.
      overwrite: whether an existing export is replaced.
      checkpoint: `best` by the watch, `last`, or the number of a step.
      note: file of Markdown that the model card includes.
      format: `savedmodel`, or `litert` for a file that runs without TensorFlow.

    Returns:
      `output`.

    Raises:
      UsageError: if `secs` or `checkpoint` is out of range.
      UserError: if the run does not exist, the checkpoint cannot be read, or
        the output exists.
    """
    if format == "litert":
        from stftgan_tf.saved_model import litert

        return litert.export(run, output, overwrite, checkpoint, note).path
    from stftgan_tf.saved_model import writing

    return writing.export(run, output, secs, overwrite, checkpoint, note).path


@explain_missing_packages
def load_model(path: str | Path) -> "LoadedModel":
    """Loads an export.

    Args:
      path: the export, or the name of a model in the box, such as `digits`.

    Returns:
      An object with `sample(num, seed, label, truncation)`,
      `interpolate(seed_a, seed_b, num, label)` and
      `long(num, seed, label, secs)`, which return audio float32 [num, N], and
      with `sample_rate_hz`.

    Raises:
      UserError: if the export does not exist or is damaged.
    """
    from stftgan_tf.saved_model import loading

    return loading.load(cli.find_model(path))


@explain_missing_packages
def evaluate(
    model: str | Path,
    data: str | Path,
    overrides: Sequence[str] = (),
) -> "Evaluation":
    """Compares an export with real windows.

    Args:
      model: the export.
      data: the data set that it was trained on.
      overrides: `section.key=value` texts that change the config inside the
        export, such as `evaluate.samples=200`.

    Returns:
      An object with `metrics` (of real and of generated windows), `blessed`,
      `reasons` (why it is not blessed), `remedies` (what to do about each) and
      `save(directory)`.

    Raises:
      UserError: if the export or the data set cannot be read, they do not
        belong together, or there are too few windows.
    """
    from stftgan_tf.evaluation import evaluator

    return evaluator.evaluate(model, data, overrides=overrides)


def as_function(module: types.ModuleType, function: Callable[..., Any]) -> None:
    """Makes the module of a command callable as a function of this API.

    `stftgan_tf.train` is the module behind `python -m stftgan_tf.train`, and
    the name of a function of the API. The module calls this itself, because an
    import of it from anywhere sets the attribute of the package.
    """

    class CommandModule(types.ModuleType):
        __call__ = staticmethod(function)

    module.__class__ = CommandModule
    module.__signature__ = inspect.signature(function)


def _condition(shards: Any, config: Config) -> Any:
    """Labels or clusters of a data set, None for an unconditional model."""
    from stftgan_tf.data import dataset
    from stftgan_tf.metrics import embedding
    from stftgan_tf.models import condition
    from stftgan_tf.training.loop import REFERENCE_WINDOWS

    if config.model.condition == "none":
        return None
    windows, _ = dataset.load_windows(
        shards, config, "train", REFERENCE_WINDOWS
    )
    embed = embedding.fit(windows, shards.moments, config)
    return condition.find(config, shards, windows, embed.log_mel)
