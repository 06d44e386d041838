"""One typed configuration for the pipeline, the training and the export.

YAML holds values only; every number is written once and whatever follows from
it is a property here. A config is checked when it loads: an unknown key, a
value of another type or a combination that cannot work raises `ConfigError`.
"""

import argparse
import copy
import dataclasses
import difflib
import hashlib
import json
import math
import re
import typing
from pathlib import Path
from typing import Any, Literal

import yaml

from stftgan_tf.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parents[1]
# In a wheel the configs lie inside the package, in a checkout beside it.
CONFIG_DIRS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")

# What the bytes of the shards depend on, and nothing else.
DATA_SECTIONS = ("audio", "stft", "window", "split")

# What the judgement of a data set or a model depends on, and no training.
JUDGEMENT_SECTIONS = ("validate", "evaluate", "bless")

# By window: of the Gaussian exp(-pi n^2 / (spread length^2)) that it is, cut
# where it is .01, or that is closest to it (Prusa et al. 2017, "A Noniterative
# Method for Reconstruction of Phase from STFT Magnitude", section III and
# table I: C_g).
_SPREADS = {"hann": 0.25645, "gaussian": math.pi / (4 * math.log(100))}

# A full-scale recording cut at 16 bits has no information below this.
MIN_FLOOR_DB = -150.0

# Fewer tell nothing of what is possible.
MIN_EVALUATION_WINDOWS = 8


def _bounded(
    low: float, high: float, default: Any = dataclasses.MISSING
) -> Any:
    """A field whose values must lie within [low, high]."""
    return dataclasses.field(default=default, metadata={"range": (low, high)})


# More than any count here can be.
_BIG = 2**31


@dataclasses.dataclass(frozen=True)
class AudioConfig:
    """Recordings as they are brought to one rate, one channel, one level.

    Attributes:
      sample_rate_hz: rate that every recording is resampled to.
      decoder: `sndfile` (libsndfile), or `tfio` (tensorflow-io, for files of
        this machine; slower, and its workers load TensorFlow).
      channels: `mean` of all channels, the `first` one, or `split`: each is a
        recording of its own.
      trim_db: silence at both ends is cut off where 10 ms do not come within
        this many dB of the recording's peak; 0 keeps it.
      level: what one gain a recording brings to `level_db`: its `peak`, its
        `rms`, or `none` (the recording stays as it is; full scale is the
        reference then).
      level_db: that level, in dB relative to full scale.
      name_regex: searched in a recording's relative path; its named groups
        `label` and `speaker` give these. Empty: neither is known.
      label_regex: only recordings whose whole label matches are taken. Empty:
        all are.
    """

    sample_rate_hz: int = _bounded(1000, 384000)
    decoder: Literal["sndfile", "tfio"] = "sndfile"
    channels: Literal["mean", "first", "split"] = "mean"
    trim_db: float = _bounded(0, 200, 0.0)
    level: Literal["peak", "rms", "none"] = "peak"
    level_db: float = _bounded(-100, 0, -3.0)
    name_regex: str = ""
    label_regex: str = ""


@dataclasses.dataclass(frozen=True)
class StftConfig:
    """The one STFT of pipeline, training and export.

    Attributes:
      frame_length: samples a frame, also the length of the FFT; even.
      frame_step: samples from frame to frame (the hop).
      window: `hann`, or `gaussian` (cut where it is .01), whose phase follows
        from its magnitudes more exactly.
      floor_db: the lowest magnitude kept, in dB (hence negative) of that of a
        sine whose amplitude is the recording's reference level
        (`audio.level_db`).
    """

    frame_length: int = _bounded(16, 65536)
    frame_step: int = _bounded(1, 65536)
    window: Literal["hann", "gaussian"] = "hann"
    floor_db: float = _bounded(MIN_FLOOR_DB, -10, -70.0)

    @property
    def bins(self) -> int:
        """Frequency bins F of a window: Nyquist is dropped."""
        return self.frame_length // 2

    @property
    def spread(self) -> float:
        """Of the Gaussian that the window is or comes closest to."""
        return _SPREADS[self.window]


@dataclasses.dataclass(frozen=True)
class WindowConfig:
    """How a recording is cut into windows of T frames.

    Attributes:
      frames: T, the frames of a window.
      stride_frames: frames from one window's start to the next one's.
      tail: what happens where the windows do not fit the recording: `pad`
        with zeros at both ends, or `crop` to the nearest number of windows,
        equally at both ends. A recording shorter than a window is centred in
        zeros either way.
      silence_db: a window whose RMS is this far below its recording's RMS is
        dropped, and counted.
      phase: whether each record also holds the instantaneous frequency of
        every value of its window.
    """

    frames: int = _bounded(1, 65536)
    stride_frames: int = _bounded(1, _BIG)
    tail: Literal["pad", "crop"] = "pad"
    silence_db: float = _bounded(0, 1000, 30.0)
    phase: bool = False


@dataclasses.dataclass(frozen=True)
class SplitConfig:
    """Which recordings are kept for evaluation; windows are never divided.

    Attributes:
      by: `speaker` hashes the speaker (the recording where it is unknown),
        `recording` the recording; `regex` takes what `eval_regex` finds.
      eval_fraction: share of speakers or recordings held out.
      eval_regex: searched in a recording's relative path when `by: regex`.
    """

    by: Literal["speaker", "recording", "regex"] = "speaker"
    eval_fraction: float = _bounded(0, 0.9, 0.1)
    eval_regex: str = ""


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Size of one network.

    Attributes:
      width: channels between the blocks of the `frames` networks; of the
        layer next to the window in the `dcgan` networks, doubled at each
        halving.
      kernel: size of the convolutions, odd; in `frames` of those that double
        or halve the steps.
    """

    width: int = _bounded(1, 65536, 256)
    kernel: int = _bounded(1, 255, 5)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Generator and critic, and how the export finds the phase.

    Attributes:
      networks: `frames` (1-D over time, frequencies are channels) or `dcgan`
        (2-D, as in SpecGAN).
      latent_dim: Z.
      num_downsamples: times the critic halves the frames (and, in `dcgan`, the
        bins); the generator doubles them as often.
      condition: what both networks are told of a window: `none`, its `label`
        (a sample is then asked for by label), or which of `clusters` it is
        in (no labels needed; a sample draws its cluster as often as the data
        has it).
      clusters: K-means clusters of what is said in the training windows, for
        `condition: cluster`.
      pac_size: windows that the critic judges at once (PacGAN's k).
      minibatch_stddev: windows in a group whose spread the critic is shown;
        1 is off.
      spectral_norm: whether every layer of the critic but what it learns of
        labels is divided by its spectral norm.
      phase: what the export's phase begins with: `integrated` from the
        gradients that magnitudes imply, zero (`griffin_lim`), or the
        instantaneous `frequency`, which the networks then learn beside the
        magnitudes (needs `window.phase`; `long` is `integrated` all the same).
      griffin_lim_iterations: that make the phase consistent, in the exported
        graph.
    """

    networks: Literal["frames", "dcgan"] = "frames"
    latent_dim: int = _bounded(1, 65536, 64)
    num_downsamples: int = _bounded(0, 16, 4)
    condition: Literal["none", "label", "cluster"] = "none"
    clusters: int = _bounded(2, 65536, 50)
    pac_size: int = _bounded(1, 64, 1)
    minibatch_stddev: int = _bounded(1, 1024, 1)
    spectral_norm: bool = False
    generator: NetworkConfig = NetworkConfig()
    critic: NetworkConfig = NetworkConfig()
    phase: Literal["integrated", "griffin_lim", "frequency"] = "integrated"
    griffin_lim_iterations: int = _bounded(1, 10000, 32)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The WGAN loop.

    Attributes:
      loss: `wgan` (weight clipping; its paper goes with rmsprop, rates of
        5e-5 and 5 critic steps), `wgan-gp`, `wgan-lp`, `wgan-div` or
        `rpgan-r1r2`; `stftgan_tf/losses.py` has the sources.
      penalty_weight: of the loss's penalty. Usual: 10 (gp, lp), 2 (div), .1
        to 10 (r1r2).
      penalty_interval: critic updates from penalty to penalty, which is
        multiplied by as much (Karras et al. 2020, "Analyzing and Improving",
        appendix B: lazy regularisation). For the penalties centred at zero.
      drift_weight: of the squared scores of real windows.
      weight_clip: bound of the critic's weights under `wgan`.
      critic_steps: critic updates for each generator update.
      batch_size: windows a critic update sees, on all devices together.
      optimizer: `adam` or `rmsprop`, for both networks.
      generator_lr, critic_lr: learning rates (two time scales).
      beta_1, beta_2: of Adam.
      ema_half_life_windows: half-life of the generator's running average,
        which is what is exported. In the beginning it is a twentieth of the
        windows seen.
      steps: generator updates of a whole training.
      seed: of weights, noise and the order of windows.
      precision: `float32`, or `mixed_bfloat16` (weights, scores and penalties
        stay float32).
      jit_compile: XLA; `auto` means on one GPU, and neither on a CPU nor on
        several devices.
      steps_per_execution: steps in one call of the compiled function; what
        logs, previews, checkpoints and watches come every so often, and
        `steps`, must be multiples of it.
      strategy: `none` (one device), `mirrored` (all of this machine's) or
        `multiworker` (as TF_CONFIG says).
      shuffle_windows: size of the shuffle buffer.
      log_every, preview_every, checkpoint_every: in steps.
      keep_checkpoints: how many of the newest stay, besides the best.
    """

    loss: Literal["wgan", "wgan-gp", "wgan-lp", "wgan-div", "rpgan-r1r2"] = (
        "wgan-gp"
    )
    penalty_weight: float = _bounded(0, 1e6, 10.0)
    penalty_interval: int = _bounded(1, 1000, 1)
    drift_weight: float = _bounded(0, 1e6, 0.0)
    weight_clip: float = _bounded(1e-9, 1e3, 0.01)
    critic_steps: int = _bounded(1, 100, 1)
    batch_size: int = _bounded(1, 65536, 64)
    optimizer: Literal["adam", "rmsprop"] = "adam"
    generator_lr: float = _bounded(0, 10, 2e-4)
    critic_lr: float = _bounded(0, 10, 2e-4)
    beta_1: float = _bounded(0, 0.999999, 0.0)
    beta_2: float = _bounded(0, 0.999999, 0.9)
    ema_half_life_windows: float = _bounded(0, 1e12, 20000.0)
    steps: int = _bounded(1, _BIG, 10000)
    seed: int = _bounded(0, _BIG, 0)
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    jit_compile: Literal["auto", "true", "false"] = "auto"
    steps_per_execution: int = _bounded(1, 10000, 1)
    strategy: Literal["none", "mirrored", "multiworker"] = "none"
    shuffle_windows: int = _bounded(1, _BIG, 4096)
    log_every: int = _bounded(1, _BIG, 50)
    preview_every: int = _bounded(1, _BIG, 500)
    checkpoint_every: int = _bounded(1, _BIG, 500)
    keep_checkpoints: int = _bounded(1, 1000, 2)


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Variation of what the critic sees, real and generated alike.

    Each of three changes (level, place in time, a hidden band and stretch) is
    made with the same probability, which rises while the critic tells more
    than `target` of the windows apart (Karras et al. 2020, "Training GANs with
    Limited Data", section 3.1).

    Attributes:
      target: share of real windows, from 0 (half of them) to 1 (all), that
        score above their generated partner before the probability rises; 0
        turns augmentation off. Usual: .6.
      adjust_windows: windows in which the probability can go from 0 to 1.
      gain_db: largest change of level.
      shift_frames: largest shift in time.
      mask_frames, mask_bins: largest stretch and band that are hidden.
    """

    target: float = _bounded(0, 1, 0.0)
    adjust_windows: int = _bounded(1, _BIG, 200000)
    gain_db: float = _bounded(0, 60, 6.0)
    shift_frames: int = _bounded(0, 65536, 8)
    mask_frames: int = _bounded(0, 65536, 16)
    mask_bins: int = _bounded(0, 65536, 32)


@dataclasses.dataclass(frozen=True)
class WatchConfig:
    """How variety is watched during training, and what is done when it goes.

    Attributes:
      every: steps from watch to watch.
      windows: generated windows of the same latents, and as many real ones.
      clusters: K of the number of statistically different bins (NDB).
      min_variety: below this share of the data's variety it is an alarm.
      patience: alarms in a row that make a collapse.
      on_collapse: `warn` in the log, `stop` the training, or `rollback` to
        the newest healthy checkpoint, with other noise and learning rates
        multiplied by `rollback_lr_factor` (not with several workers).
      max_rollbacks: after as many, a collapse stops the training.
      rollback_lr_factor: see `on_collapse`.
    """

    every: int = _bounded(1, _BIG, 500)
    windows: int = _bounded(8, 65536, 512)
    clusters: int = _bounded(2, 1000, 50)
    min_variety: float = _bounded(0, 1, 0.5)
    patience: int = _bounded(1, 1000, 3)
    on_collapse: Literal["warn", "stop", "rollback"] = "rollback"
    max_rollbacks: int = _bounded(0, 1000, 3)
    rollback_lr_factor: float = _bounded(0.001, 1, 0.5)


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """How an export is measured.

    Attributes:
      samples: windows generated, and at most as many real ones compared.
      clusters: K of the number of statistically different bins (NDB).
      seed: of the first sample, and of the clustering.
    """

    samples: int = _bounded(50, 1000000, 1000)
    clusters: int = _bounded(2, 1000, 50)
    seed: int = _bounded(0, _BIG, 0)


@dataclasses.dataclass(frozen=True)
class ValidateConfig:
    """When a data set is not fit to train on.

    Attributes:
      max_silent: share of the windows that may be silent.
      max_clipped: share of the values that may be beyond 3 sigma.
      max_unlabelled: share of the training windows that may have no label,
        where others have one.
      min_recognised: how often neighbours agree on a window's label, in
        multiples of chance, at most half way from there to always; not asked
        where one label has more than half of the windows.
      min_speakers: in the training split, where speakers are known.
      max_level_db, max_spectrum, max_duration, max_label_drift,
        min_speaker_share: against a reference: mean level; mean spectrum, in
        standard deviations of the reference; ratio of windows a recording;
        Jensen-Shannon divergence of the labels, in nats; share of its number
        of speakers.
    """

    max_silent: float = _bounded(0, 1, 0.3)
    max_clipped: float = _bounded(0, 1, 0.05)
    max_unlabelled: float = _bounded(0, 1, 0.1)
    min_recognised: float = _bounded(0, 1000, 2.0)
    min_speakers: int = _bounded(1, _BIG, 2)
    max_level_db: float = _bounded(0, 1000, 6.0)
    max_spectrum: float = _bounded(0, 1000, 0.2)
    max_duration: float = _bounded(1, 1000, 2.0)
    max_label_drift: float = _bounded(0, 1, 0.1)
    min_speaker_share: float = _bounded(0, 1, 0.5)


@dataclasses.dataclass(frozen=True)
class BlessConfig:
    """How far an export may be from real windows and still be published.

    Attributes:
      min_diversity: least mean distance between two windows, of real ones'.
      min_apart: least mean distance to the nearest other window, of real
        ones'.
      min_precision: least share of windows within the neighbourhoods of real
        ones, of real windows' own.
      min_coverage: least share of real neighbourhoods that are filled, of
        real windows' own.
      min_recall: least share of real windows within the neighbourhoods of
        generated ones, of real windows' own.
      max_ndb: share of the clusters that may be filled differently, besides
        those that real windows fill differently.
      max_frechet: largest Frechet distance, besides that of real windows, in
        the variance of the data.
      max_memorised: share of windows that may be copies of training windows,
        besides that of real ones.
      min_recognised: least share of labels asked for that are recognised, of
        real windows'.
      max_worse: largest ratio of generated to real windows' Frechet distance,
        in that ratio of the export blessed before (1.2: a fifth worse).
    """

    min_diversity: float = _bounded(0, 1, 0.6)
    min_apart: float = _bounded(0, 1, 0.4)
    min_precision: float = _bounded(0, 1, 0.4)
    min_coverage: float = _bounded(0, 1, 0.6)
    min_recall: float = _bounded(0, 1, 0.1)
    max_ndb: float = _bounded(0, 1, 0.4)
    max_frechet: float = _bounded(0, 1e6, 0.2)
    max_memorised: float = _bounded(0, 1, 0.05)
    min_recognised: float = _bounded(0, 1, 0.7)
    max_worse: float = _bounded(0, 1e6, 1.2)


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that a run depends on. Sections are attributes."""

    audio: AudioConfig
    stft: StftConfig
    window: WindowConfig
    split: SplitConfig = SplitConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    augment: AugmentConfig = AugmentConfig()
    watch: WatchConfig = WatchConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    bless: BlessConfig = BlessConfig()
    validate: ValidateConfig = ValidateConfig()

    @property
    def window_samples(self) -> int:
        """N, samples that a window of T frames spans."""
        steps = (self.window.frames - 1) * self.stft.frame_step
        return steps + self.stft.frame_length

    @property
    def stride_samples(self) -> int:
        """Samples from one window's start to the next one's."""
        return self.window.stride_frames * self.stft.frame_step

    @property
    def window_shape(self) -> tuple[int, int]:
        """(T, F)."""
        return self.window.frames, self.stft.bins

    @property
    def learnt_shape(self) -> tuple[int, int]:
        """(T, F), or (T, 2 F) where frequencies are learnt behind them."""
        frames, bins = self.window_shape
        return frames, bins * (2 if self.model.phase == "frequency" else 1)

    @property
    def record_shape(self) -> tuple[int, ...]:
        """(T, F) of a record's window, or (T, F, 2) with its phase."""
        channels = (2,) if self.window.phase else ()
        return *self.window_shape, *channels

    @property
    def log_floor(self) -> float:
        """Natural log of the lowest magnitude kept (see `stft.floor_db`)."""
        level_db = 0.0 if self.audio.level == "none" else self.audio.level_db
        return (level_db + self.stft.floor_db) / 20 * math.log(10)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The config as nested plain values, complete."""
        return dataclasses.asdict(self)

    def to_yaml(self) -> str:
        """The config as YAML that loads back to the same config."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    def data_dict(self) -> dict[str, dict[str, Any]]:
        """The sections that the bytes of the shards depend on."""
        whole = self.to_dict()
        return {name: whole[name] for name in DATA_SECTIONS}

    def data_hash(self) -> str:
        """SHA-256 of `data_dict`, as hexadecimal."""
        text = json.dumps(self.data_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def from_dict(
    values: dict[str, Any], overrides: typing.Sequence[str] = ()
) -> Config:
    """Builds and checks a config from nested plain values.

    Args:
      values: sections of keys and values.
      overrides: `section.key=value` texts that replace what `values` say.

    Raises:
      ConfigError: for an unknown key, a wrong type or values that contradict.
    """
    values = copy.deepcopy(values)
    for override in overrides:
        _override(values, override)
    config = _build(Config, values, "")
    _check(config)
    return config


def completed(data: dict[str, Any]) -> dict[str, Any]:
    """A data set's config with the keys that it is too old to have.

    Raises:
      ConfigError: if it has keys or values that are unknown here.
    """
    hints = typing.get_type_hints(Config)
    return {
        name: dataclasses.asdict(_build(hints[name], data[name], f"{name}."))
        for name in DATA_SECTIONS
        if name in data
    }


def load(name: str, overrides: typing.Sequence[str] = ()) -> Config:
    """Loads a YAML file, or a shipped config by its bare name.

    Args:
      name: a path, or a name such as `digits8k`.
      overrides: `section.key=value` texts that replace what the file says.

    Raises:
      ConfigError: if there is no such config, or it cannot be used.
    """
    path = find(name)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: not readable as YAML: {reason}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected sections, got {values!r}")
    try:
        return from_dict(values, overrides)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def shipped() -> dict[str, Path]:
    """The configs that come with the project, by name."""
    return {
        path.stem: path
        for folder in CONFIG_DIRS
        for path in sorted(folder.glob("*.yaml"))
    }


def find(name: str) -> Path:
    """The file that `--config` means: a path, else a shipped name.

    Raises:
      ConfigError: if there is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    known = shipped()
    # A bare name, or `configs/digits8k.yaml` from a folder that lacks it.
    bare = name
    if path.parent == Path("configs") and path.suffix == ".yaml":
        bare = path.stem
    if bare in known:
        return known[bare]
    names = ", ".join(sorted(known))
    raise ConfigError(f"no config file {name!r}; shipped configs: {names}")


def differences(
    ours: dict[str, Any], theirs: dict[str, Any], prefix: str = ""
) -> list[tuple[str, Any, Any]]:
    """Lists (dotted key, ours, theirs) wherever two nested dicts differ."""
    found = []
    for key in sorted(set(ours) | set(theirs)):
        a, b = ours.get(key), theirs.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append((f"{prefix}{key}", a, b))
    return found


def add_arguments(parser: argparse.ArgumentParser, default: str | None) -> None:
    """Adds `--config`, `--set` and `--print-config` to a command.

    With no default, the command has a config of its own to fall back on.
    """
    parser.add_argument(
        "--config",
        default=default,
        help="a YAML file, or the name of a shipped config: "
        f"{', '.join(sorted(shipped()))} "
        f"(default: {default or 'the one the input was made with'})",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override a config value; repeatable",
    )
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="print the config as it resolves, and exit",
    )


def _build(cls: type, values: Any, prefix: str) -> Any:
    """A dataclass from a dict, every key and type checked."""
    if not isinstance(values, dict):
        raise ConfigError(
            f"{prefix.rstrip('.')}: expected keys and values, got {values!r}"
        )
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in hints:
            raise ConfigError(_unknown(prefix, key, hints))
    typed = {}
    for field in dataclasses.fields(cls):
        key = f"{prefix}{field.name}"
        if field.name in values:
            value = _typed(hints[field.name], values[field.name], key)
            _check_range(key, value, field.metadata.get("range"))
            typed[field.name] = value
        elif field.default is dataclasses.MISSING:
            raise ConfigError(f"{key} is missing")
    return cls(**typed)


def _check_range(
    key: str, value: Any, bounds: tuple[float, float] | None
) -> None:
    if bounds and not bounds[0] <= value <= bounds[1]:
        low, high = bounds
        raise ConfigError(f"{key} is {value}; expected {low} to {high}")


def _unknown(prefix: str, key: Any, hints: dict[str, Any]) -> str:
    near = difflib.get_close_matches(str(key), hints, n=1, cutoff=0.0)
    return f"unknown key {prefix}{key}; did you mean {prefix}{near[0]}?"


def _typed(hint: Any, value: Any, key: str) -> Any:
    """The value as the hint has it; ints pass as floats, nothing else does."""
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, f"{key}.")
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        # YAML reads an unquoted true as a boolean.
        value = str(value).lower() if isinstance(value, bool) else value
        if value not in choices:
            raise ConfigError(
                f"{key} is {value!r}; expected one of {', '.join(choices)}"
            )
        return value
    if hint is float:
        return _number(value, key)
    if type(value) is not hint:
        raise ConfigError(
            f"{key} is {value!r} ({type(value).__name__}); "
            f"expected {hint.__name__}"
        )
    return value


def _number(value: Any, key: str) -> float:
    # YAML 1.1 reads 2e-4, without a dot, as text.
    number = math.nan
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except ValueError:
            pass
    if not math.isfinite(number):
        raise ConfigError(f"{key} is {value!r}; expected a finite number")
    return number


def _override(values: dict[str, Any], text: str) -> None:
    """Puts one `a.b=c` into nested values; types are checked on building."""
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or len(parts) < 2 or not all(parts):
        raise ConfigError(f"--set {text!r}; expected SECTION.KEY=VALUE")
    try:
        # An empty right-hand side is an empty text, not YAML's null.
        parsed = yaml.safe_load(value) if value.strip() else ""
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text!r}: value is not YAML") from error
    here = values
    for part in parts[:-1]:
        here = here.setdefault(part, {})
        if not isinstance(here, dict):
            raise ConfigError(f"--set {text!r}: {part} is no section")
    here[parts[-1]] = parsed


def _check(config: Config) -> None:
    """Raises ConfigError for values that cannot work, alone or together."""
    _check_stft(config)
    _check_networks(config)
    _check_training(config)
    for key, text in (
        ("audio.name_regex", config.audio.name_regex),
        ("audio.label_regex", config.audio.label_regex),
        ("split.eval_regex", config.split.eval_regex),
    ):
        try:
            groups = set(re.compile(text).groupindex)
        except re.error as error:
            raise ConfigError(f"{key} is no regex: {error}") from error
        if key == "audio.name_regex" and groups - {"label", "speaker"}:
            raise ConfigError(
                f"{key} has the named groups {sorted(groups)}; expected only "
                "label and speaker"
            )
    if config.split.by == "regex" and not config.split.eval_regex:
        raise ConfigError("split.by is regex; split.eval_regex is empty")


def _check_stft(config: Config) -> None:
    length, step = config.stft.frame_length, config.stft.frame_step
    if length % 2:
        raise ConfigError(f"stft.frame_length is {length}; expected even")
    _check_range("stft.frame_step", step, (1, length))
    if not _overlap_reconstructs(config.stft):
        raise ConfigError(
            f"stft.frame_step is {step}: {config.stft.window} frames of "
            f"{length} samples that far apart leave samples that no frame "
            "holds, so the audio cannot be reconstructed; use at most "
            f"{length // 2}"
        )
    if config.model.phase == "frequency" and not config.window.phase:
        raise ConfigError(
            "model.phase is frequency, which records hold where window.phase "
            "is true"
        )


def _overlap_reconstructs(stft: StftConfig) -> bool:
    """Whether the squares of periodic windows add up to > 0 everywhere.

    (The nonzero overlap-add constraint, as in `scipy.signal.check_NOLA`.)
    """
    sums = [0.0] * stft.frame_step
    for n in range(stft.frame_length):
        place = n / stft.frame_length
        value = math.sin(math.pi * place) ** 2
        if stft.window == "gaussian":
            value = math.exp(-math.pi * (place - 0.5) ** 2 / stft.spread)
        sums[n % stft.frame_step] += value**2
    return min(sums) > 1e-3


def _check_networks(config: Config) -> None:
    model, (frames, bins) = config.model, config.window_shape
    factor = 2**model.num_downsamples
    sizes = [("window.frames", frames)]
    if model.networks == "dcgan":
        sizes.append(("stft.frame_length / 2", bins))
    for key, size in sizes:
        if size % factor:
            raise ConfigError(
                f"{key} is {size}, which model.num_downsamples {model.num_downsamples} "
                f"cannot halve: expected a multiple of {factor}, or fewer "
                "num_downsamples"
            )
    for name in ("generator", "critic"):
        kernel = getattr(model, name).kernel
        if kernel % 2 == 0:
            raise ConfigError(f"model.{name}.kernel is {kernel}; expected odd")


def _check_training(config: Config) -> None:
    train, model = config.train, config.model
    for key, every in (
        ("train.log_every", train.log_every),
        ("train.preview_every", train.preview_every),
        ("train.checkpoint_every", train.checkpoint_every),
        ("watch.every", config.watch.every),
    ):
        if every % train.steps_per_execution:
            raise ConfigError(
                f"{key} is {every}; expected a multiple of "
                f"train.steps_per_execution, {train.steps_per_execution}"
            )
    group = model.pac_size * model.minibatch_stddev
    if train.batch_size % group:
        raise ConfigError(
            f"train.batch_size is {train.batch_size}; expected a multiple of "
            f"model.pac_size times model.minibatch_stddev, {group}"
        )
    if train.strategy == "multiworker" and config.watch.on_collapse == (
        "rollback"
    ):
        raise ConfigError(
            "watch.on_collapse is rollback, which train.strategy multiworker "
            "cannot; expected stop or warn"
        )
    if train.loss == "wgan" and model.spectral_norm:
        raise ConfigError(
            "train.loss is wgan, which clips the weights that "
            "model.spectral_norm divides; expected one of them"
        )
    if (
        train.strategy != "none"
        and model.spectral_norm
        and train.penalty_interval > 1
    ):
        raise ConfigError(
            f"train.strategy is {train.strategy} with model.spectral_norm; "
            "expected train.penalty_interval 1, as the devices cannot agree on "
            "the norms in some updates only"
        )
    if train.strategy != "none" and train.steps_per_execution > 1:
        raise ConfigError(
            f"train.strategy is {train.strategy}, whose devices cannot meet "
            "within several steps; expected train.steps_per_execution 1"
        )
    if train.strategy != "none" and train.jit_compile == "true":
        raise ConfigError(
            f"train.strategy is {train.strategy}, which XLA cannot compile; "
            "expected train.jit_compile auto or false"
        )
