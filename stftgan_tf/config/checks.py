"""Checks of values that cannot work together."""

import math
import re

from stftgan_tf.config.parsing import check_range
from stftgan_tf.config.schema import (
    AudioConfig,
    Config,
    ModelConfig,
    StftConfig,
)
from stftgan_tf.errors import ConfigError

# A patch of the texture critic has 10 values a side, and second differences
# require a neighbour on each side.
_MIN_TEXTURE_SIZE = 12


def check(config: Config) -> None:
    """Raises ConfigError for values that cannot work together."""
    _check_stft(config)
    _check_networks(config)
    _check_intervals(config)
    _check_strategy(config)
    _check_patterns(config)


def _check_stft(config: Config) -> None:
    length, step = config.stft.frame_length, config.stft.frame_step
    if length % 2:
        raise ConfigError(f"stft.frame_length is {length}; expected even")
    check_range("stft.frame_step", step, 1, length)
    if not _overlap_reconstructs(config.stft):
        raise ConfigError(
            f"stft.frame_step is {step}: frames of {length} samples that far "
            "apart do not cover every sample, so the audio cannot be "
            f"reconstructed; use at most {length // 2}"
        )


def _overlap_reconstructs(stft: StftConfig) -> bool:
    """Whether the squared Hann windows add up to more than 0 everywhere.

    This is the nonzero overlap-add constraint (`scipy.signal.check_NOLA`).
    """
    sums = [0.0] * stft.frame_step
    for n in range(stft.frame_length):
        window = math.sin(math.pi * n / stft.frame_length) ** 2
        sums[n % stft.frame_step] += window**2
    return min(sums) > 1e-3


def _check_networks(config: Config) -> None:
    model, (frames, bins) = config.model, config.window_shape
    factor = 2**model.num_downsamples
    sizes = [("window.frames", frames)]
    if model.networks == "dcgan":
        sizes.append(("stft.frame_length / 2", bins))
    for name, size in sizes:
        if size % factor:
            raise ConfigError(
                f"{name} is {size}; expected a multiple of {factor} "
                f"(2 to the power of model.num_downsamples, "
                f"{model.num_downsamples})"
            )
    if model.networks == "dcgan" and model.critic_input != "window":
        raise ConfigError(
            f"model.critic_input is {model.critic_input}; expected window, "
            "because only the frames networks take mel bands"
        )
    if model.stem_stride == 2:
        _check_stem(model)
    for name in ("generator", "critic"):
        kernel = getattr(model, name).kernel
        if kernel % 2 == 0:
            raise ConfigError(f"model.{name}.kernel is {kernel}; expected odd")
    _check_texture(config)
    group, batch = model.minibatch_stddev, config.train.batch_size
    if batch % group:
        raise ConfigError(
            f"train.batch_size is {batch}; expected a multiple of "
            f"model.minibatch_stddev, {group}"
        )


def _check_texture(config: Config) -> None:
    if not config.train.texture_weight:
        return
    if config.train.loss != "rpgan-r1r2":
        raise ConfigError(
            f"train.texture_weight is {config.train.texture_weight:g}; "
            f"expected 0, because train.loss is {config.train.loss} and the "
            "texture critic needs rpgan-r1r2"
        )
    if min(config.window_shape) < _MIN_TEXTURE_SIZE:
        frames, bins = config.window_shape
        raise ConfigError(
            f"train.texture_weight is {config.train.texture_weight:g}; "
            f"expected 0, because windows of {frames} frames and {bins} bins "
            f"are too small for the texture critic, which needs "
            f"{_MIN_TEXTURE_SIZE} of both"
        )


def _check_stem(model: ModelConfig) -> None:
    if model.networks == "dcgan":
        raise ConfigError(
            "model.stem_stride is 2; expected 1, because the dcgan networks "
            "halve frames and bins in every layer"
        )
    if not model.num_downsamples:
        raise ConfigError(
            "model.stem_stride is 2; expected 1, because "
            "model.num_downsamples is 0"
        )


def _check_intervals(config: Config) -> None:
    train = config.train
    for name, interval in (
        ("train.log_every", train.log_every),
        ("train.preview_every", train.preview_every),
        ("train.checkpoint_every", train.checkpoint_every),
        ("watch.every", config.watch.every),
    ):
        if interval % train.steps_per_execution:
            raise ConfigError(
                f"{name} is {interval}; expected a multiple of "
                f"train.steps_per_execution, {train.steps_per_execution}"
            )


def _check_strategy(config: Config) -> None:
    train = config.train
    if train.strategy == "none":
        return
    if train.steps_per_execution > 1:
        raise ConfigError(
            f"train.strategy is {train.strategy}, so devices synchronise after "
            "every step; expected train.steps_per_execution 1"
        )
    if train.jit_compile == "true":
        raise ConfigError(
            f"train.strategy is {train.strategy}, which XLA cannot compile; "
            "expected train.jit_compile auto or false"
        )


def _check_name_sources(audio: AudioConfig) -> None:
    if audio.labels == audio.speakers == "folder":
        raise ConfigError(
            "audio.labels and audio.speakers are both folder; a folder gives "
            "one of them"
        )
    groups = re.compile(audio.name_regex).groupindex
    for key, group in (("labels", "label"), ("speakers", "speaker")):
        if getattr(audio, key) == "regex" and group not in groups:
            raise ConfigError(
                f"audio.{key} is regex, but audio.name_regex "
                f"{audio.name_regex!r} has no group (?P<{group}>...)"
            )


def _check_patterns(config: Config) -> None:
    for name, text in (
        ("audio.name_regex", config.audio.name_regex),
        ("audio.label_regex", config.audio.label_regex),
        ("split.eval_regex", config.split.eval_regex),
    ):
        try:
            groups = set(re.compile(text).groupindex)
        except (re.error, OverflowError, RecursionError) as error:
            raise ConfigError(
                f"{name} is not a regular expression: {error}"
            ) from error
        if name == "audio.name_regex" and groups - {"label", "speaker"}:
            raise ConfigError(
                f"{name} has the named groups {sorted(groups)}; expected only "
                "label and speaker"
            )
    _check_name_sources(config.audio)
    if config.split.by == "regex" and not config.split.eval_regex:
        raise ConfigError("split.by is regex, but split.eval_regex is empty")
