"""Starts a training with the weights of another model (fine-tuning).

From a run come the averaged generator and the critic of its best checkpoint;
from an export comes the generator, and the critic starts anew. Optimizers,
averages and the texture critic start anew as well. Moments, labels and clusters
are those of the new data.

`init_from.json` of the run records what it started from.
"""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.data import dataset
from stftgan_tf.data.dataset import Shards
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.errors import UserError, first_line
from stftgan_tf.files import write_atomically
from stftgan_tf.metrics import embedding
from stftgan_tf.models import networks
from stftgan_tf.models.condition import Condition
from stftgan_tf.models.wgan import WGAN
from stftgan_tf.training import checkpoints, run_dir

_LOG = logging.getLogger(__name__)

# Windows of the source for each class, and training windows in all, that show
# what a class sounds like.
_WINDOWS_PER_CLASS, _WINDOWS = 32, 2048

# What determines the shapes of the weights, besides the shape of the window.
_GENERATOR_KEYS = (
    "networks",
    "latent_dim",
    "num_downsamples",
    "stem_stride",
    "generator",
)
_CRITIC_KEYS = ("critic", "critic_input", "minibatch_stddev")

_DAMAGE = (tf.errors.OpError, KeyError, OSError, TypeError, ValueError)


@dataclasses.dataclass(frozen=True)
class Source:
    """A trained model to start from.

    Attributes:
      path: directory of the run or export.
      config: of its training.
      moments: of its data.
      labels: names of its labels.
      step: its training step.
      generator: with its weights.
      critic: with its weights; None for an export.
    """

    path: Path
    config: Config
    moments: Moments
    labels: list[str]
    step: int
    generator: keras.Model
    critic: keras.Model | None


def load(path: Path) -> Source:
    """Loads a run or an export.

    Raises:
      UserError: if the directory contains neither, or cannot be read.
    """
    if (path / run_dir.CONFIG).is_file():
        return _of_run(path)
    if (path / "metadata.json").is_file():
        return _of_export(path)
    raise UserError(
        f"{path} is neither a run (no {run_dir.CONFIG}) nor an export (no "
        "metadata.json)"
    )


def check(source: Source, config: Config) -> None:
    """Raises UserError unless the generator fits the config."""
    there, here = _shapes(source.config), _shapes(config)
    differences = [
        f"{key} is {there[key]} there, {here[key]} here"
        for key in here
        if there[key] != here[key]
    ]
    conditions = source.config.model.condition, config.model.condition
    if conditions[1] == "none" != conditions[0]:
        differences.append(
            f"model.condition is {conditions[0]} there, none here"
        )
    if differences:
        raise UserError(
            f"{source.path} has different networks: {'; '.join(differences)}. "
            "Preprocess with the config of that model, and train without "
            "--config"
        )


def apply(
    source: Source,
    model: WGAN,
    config: Config,
    shards: Shards,
    condition: Condition | None,
) -> None:
    """Gives the model the weights of the source.

    Each class starts as the class of the source with the same label, or else
    as the one that sounds most like it.
    """
    matches = _matches(source, config, shards, condition)
    for network in (model.generator, model.ema_generator):
        _copy(source.generator, network, matches)
    if source.critic is None:
        _LOG.info("the critic starts anew: %s is an export", source.path)
    elif _of(source.config, _CRITIC_KEYS) != _of(config, _CRITIC_KEYS):
        _LOG.info("the critic starts anew: its config differs")
    else:
        _copy(source.critic, model.critic, matches)
    _LOG.info("initial weights from %s, step %d", source.path, source.step)


def write_record(run: Path, source: Source | None) -> None:
    """Writes what a new run starts from, and removes an earlier record."""
    path = run / run_dir.INIT_FROM
    if source is None:
        path.unlink(missing_ok=True)
        return
    values = {"path": str(source.path.resolve()), "step": source.step}
    write_atomically(path, (json.dumps(values) + "\n").encode())


def read_record(run: Path) -> dict[str, Any] | None:
    """What a run started from: `path` and `step`; None for fresh weights."""
    try:
        return json.loads((run / run_dir.INIT_FROM).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def _of_run(path: Path) -> Source:
    config, manifest = run_dir.open_run(path)
    moments = Moments.from_dict(manifest["moments"])
    classes = num_classes(config, manifest["labels"])
    generator = networks.build_generator(config, classes, moments)
    critic = networks.build_critic(config, classes, moments)
    choice = checkpoints.restore_average(
        path / checkpoints.DIRECTORY, generator, critic=critic
    )
    step, labels = choice.state.step, manifest["labels"]
    return Source(path, config, moments, labels, step, generator, critic)


def _of_export(path: Path) -> Source:
    try:
        text = (path / "metadata.json").read_text(encoding="utf-8")
        metadata = json.loads(text)
        config = config_lib.from_dict(metadata["config"], source=str(path))
        moments = Moments.from_dict(metadata["moments"])
        labels = metadata["labels"]
        generator = networks.build_generator(
            config, num_classes(config, labels), moments
        )
        generator.set_weights(_variables(path))
    except _DAMAGE as error:
        raise UserError(
            f"export {path} cannot be read: {first_line(error)}"
        ) from error
    return Source(
        path,
        config,
        moments,
        labels,
        metadata["step"],
        generator,
        None,
    )


def _variables(path: Path) -> list[np.ndarray]:
    """The weights of an export, in the order of the generator's variables."""
    reader = tf.train.load_checkpoint(str(path / "variables" / "variables"))
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    names = [
        name
        for name in reader.get_variable_to_shape_map()
        if name.startswith("_variables/") and name.endswith(suffix)
    ]
    names.sort(key=lambda name: int(name.split("/")[1]))
    return [reader.get_tensor(name) for name in names]


def _shapes(config: Config) -> dict[str, Any]:
    """What determines the shapes of a generator's weights."""
    values = {"the window": config.window_shape}
    return values | _of(config, _GENERATOR_KEYS)


def _of(config: Config, keys: tuple[str, ...]) -> dict[str, Any]:
    values = config.to_dict()["model"]
    return {f"model.{key}": values[key] for key in keys}


def _matches(
    source: Source,
    config: Config,
    shards: Shards,
    condition: Condition | None,
) -> np.ndarray | None:
    """For each class, the class of the source it starts as.

    None if the source has no classes.
    """
    if condition is None or source.config.model.condition == "none":
        return None
    heard = _sound_of_classes(source)
    windows, labels = dataset.load_windows(shards, config, "train", _WINDOWS)
    classes = condition.classify(tf.constant(windows), tf.constant(labels))
    vectors = _cepstra(windows, shards.moments, config)
    matches = np.zeros(condition.classes, int)
    for index in range(condition.classes):
        members = vectors[np.asarray(classes) == index]
        if len(members):
            differences = np.square(heard - members.mean(axis=0)).sum(axis=1)
            matches[index] = differences.argmin()
    if source.config.model.condition == config.model.condition == "label":
        for index, name in enumerate(shards.manifest["labels"]):
            if name in source.labels:
                matches[index] = source.labels.index(name)
    return matches


def _sound_of_classes(source: Source) -> np.ndarray:
    """Mean cepstra [K, D] of windows that the source generates."""
    size, config = source.config.model.latent_dim, source.config
    classes = num_classes(config, source.labels)
    latents = tf.random.stateless_normal([_WINDOWS_PER_CLASS, size], [0, 0])
    return np.stack(
        [
            _cepstra(
                source.generator(
                    [latents, tf.fill([_WINDOWS_PER_CLASS], index)]
                ).numpy(),
                source.moments,
                config,
            ).mean(axis=0)
            for index in range(classes)
        ]
    )


def _cepstra(
    windows: np.ndarray, moments: Moments, config: Config
) -> np.ndarray:
    log_mel = embedding.log_mel_of(moments, config)
    return embedding.in_batches(
        lambda batch: embedding.cepstra(log_mel(batch)), windows
    )


def num_classes(config: Config, labels: list[str]) -> int:
    """Number of labels or clusters of a model, 0 if unconditional."""
    sizes = {"label": len(labels), "cluster": config.model.clusters}
    return sizes.get(config.model.condition, 0)


def _copy(
    source: keras.Model, target: keras.Model, matches: np.ndarray | None
) -> None:
    """Copies weights; rows of embeddings by `matches`."""
    embeddings = [
        [x for x in network.layers if isinstance(x, layers.Embedding)]
        for network in (source, target)
    ]
    others = [
        [x for x in network.layers if x.weights and x not in special]
        for network, special in zip((source, target), embeddings, strict=True)
    ]
    for old, new in zip(*others, strict=True):
        new.set_weights(old.get_weights())
    # Without classes in the source, embeddings keep their neutral start.
    if matches is not None:
        for old, new in zip(*embeddings, strict=True):
            new.set_weights([old.get_weights()[0][matches]])
