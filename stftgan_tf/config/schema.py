"""The schema: one frozen dataclass for each section of a config.

Each number is configured once; derived numbers are properties here. The
attribute docs below are also the reference in `docs/configuration.md`.
"""

import dataclasses
import hashlib
import json
import math
from typing import Any, Literal

import yaml

# The sections that the bytes of the shards depend on.
DATA_SECTIONS = ("audio", "stft", "window", "split")

# The sections that only affect how data sets and exports are assessed, not the
# training.
ASSESSMENT_SECTIONS = ("validate", "evaluate", "bless")

# A full-scale recording quantised to 16 bits has no information below this.
MIN_FLOOR_DB = -150.0

# An evaluation with fewer windows is meaningless.
MIN_EVALUATION_WINDOWS = 8

# What gives the labels or the speakers of recordings.
NameSource = Literal["auto", "folder", "regex", "manifest", "none"]

# Stands for "no upper limit"; it exceeds any count that occurs here.
UNBOUNDED = 2**31


def _bounded(
    low: float, high: float, default: Any = dataclasses.MISSING
) -> Any:
    """A field whose values must be in [low, high]."""
    return dataclasses.field(default=default, metadata={"range": (low, high)})


@dataclasses.dataclass(frozen=True)
class AudioConfig:
    """How recordings are converted to the same rate, channels and level.

    Attributes:
      sample_rate_hz: every recording is resampled to this rate.
      decoder: `sndfile` (libsndfile) or `tfio` (tensorflow-io: local files
        only, slower, and its workers load TensorFlow).
      channels: `mean` of all channels, the `first` channel, or `split`, which
        treats each channel as a recording.
      trim_db: cuts off silence at both ends: blocks of 10 ms whose level is
        more than this many dB below the peak of the recording. 0 keeps the
        silence.
      level: each recording is amplified so that its `peak` or its `rms` is
        `level_db`. `none` applies no gain; the reference is then full scale.
      level_db: the target level, in dB relative to full scale.
      labels: what gives the labels: the `folder` that directly contains the
        recording, the group `label` of `name_regex` (`regex`), the column of
        the `manifest` (or the feature of a TFDS data set), or `none`. `auto`
        takes the column or feature if there is one, otherwise `name_regex`.
      speakers: what gives the speakers, in the same way.
      name_regex: searched in the relative path of a recording; its named
        groups give the `label` and the `speaker`. Empty: both are unknown.
      label_regex: keeps only the recordings whose whole label matches. Empty:
        keeps all.
    """

    sample_rate_hz: int = _bounded(1000, 384000)
    decoder: Literal["sndfile", "tfio"] = "sndfile"
    channels: Literal["mean", "first", "split"] = "mean"
    trim_db: float = _bounded(0, 200, 0.0)
    level: Literal["peak", "rms", "none"] = "peak"
    level_db: float = _bounded(-100, 0, -3.0)
    labels: NameSource = "auto"
    speakers: NameSource = "auto"
    name_regex: str = ""
    label_regex: str = ""


@dataclasses.dataclass(frozen=True)
class StftConfig:
    """The STFT (Hann window) that pipeline, training and export share.

    Attributes:
      frame_length: samples per frame and length of the FFT; even.
      frame_step: samples from one frame to the next (the hop).
      floor_db: smaller magnitudes are raised to this level, in dB relative to
        a sine whose amplitude is the reference level (`audio.level_db`).
    """

    frame_length: int = _bounded(16, 65536)
    frame_step: int = _bounded(1, 65536)
    floor_db: float = _bounded(MIN_FLOOR_DB, -10, -70.0)

    @property
    def bins(self) -> int:
        """Frequency bins F of a window: the Nyquist bin is dropped."""
        return self.frame_length // 2


@dataclasses.dataclass(frozen=True)
class WindowConfig:
    """How a recording is cut into windows of T frames.

    Attributes:
      frames: T, the frames per window.
      stride_frames: frames from the start of one window to that of the next.
      tail: how a recording is fitted to a whole number of windows: `pad` adds
        zeros at both ends; `crop` cuts both ends equally, to the nearest number
        of windows. Both pad a recording that is shorter than a window.
      place: `grid` cuts a whole recording; `speech` cuts only its speech: one
        window around a word that fits in it, and a grid over longer speech,
        fitted as by `tail`. A recording without speech is unusable.
      silence_db: drops (and counts) windows whose RMS is more than this many dB
        below the active level of their recording (the RMS without its pauses,
        after ITU-T P.56). A `grid` also drops windows less than 6 dB above the
        noise floor, if the speech is at least 15 dB above it. 100 and more keep
        all windows.
    """

    frames: int = _bounded(1, 65536)
    stride_frames: int = _bounded(1, UNBOUNDED)
    tail: Literal["pad", "crop"] = "pad"
    place: Literal["grid", "speech"] = "grid"
    silence_db: float = _bounded(0, 1000, 30.0)


@dataclasses.dataclass(frozen=True)
class SplitConfig:
    """Which recordings are held out for evaluation.

    A recording is never divided between the training and the evaluation split.

    Attributes:
      by: `speaker` hashes the speaker (or the recording if the speaker is
        unknown), `recording` hashes the recording, and `regex` holds out the
        recordings whose path matches `eval_regex`.
      eval_fraction: share of the speakers or recordings that are held out.
      eval_regex: searched in the relative path of a recording with
        `by: regex`.
    """

    by: Literal["speaker", "recording", "regex"] = "speaker"
    eval_fraction: float = _bounded(0, 0.9, 0.1)
    eval_regex: str = ""


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Size of one network.

    Attributes:
      width: in the `frames` networks the channels between blocks; in the
        `dcgan` networks the channels of the layer next to the window, which
        double with each downsampling.
      kernel: size of the convolutions, odd; in the `frames` networks only of
        those that change the number of time steps.
    """

    width: int = _bounded(1, 65536, 256)
    kernel: int = _bounded(1, 255, 5)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Generator, critic, and how the export reconstructs the phase.

    Attributes:
      networks: `frames` (1-D over time; frequencies are channels) or `dcgan`
        (2-D, as in SpecGAN).
      latent_dim: Z, the size of a latent vector.
      num_downsamples: how many times the critic halves the frames (and, with
        `dcgan`, the bins); the generator doubles them as many times.
      stem_stride: stride of the layers next to the window, for `frames`: with
        2, the critic's first and the generator's last convolution halve and
        double the frames, in place of a block at the full rate, which costs
        more than a third of each network.
      condition: what both networks are conditioned on: `none` (nothing); the
        `label` of a window, so that samples can be requested by label; or its
        `cluster`, which needs no labels (samples draw clusters with their
        frequencies in the data).
      clusters: number of K-means clusters of the content of the training
        windows, for `condition: cluster`.
      minibatch_stddev: windows per group whose standard deviation the critic
        sees (minibatch discrimination); 1 turns it off.
      critic_input: what the critic of the `frames` networks sees: the
        `window`, or `window_and_mel`, which adds log-mel bands.
      generator: size of the generator.
      critic: size of the critic.
      phase: initial phase of the exported audio: `integrated` from the
        gradients that the magnitudes imply, or zero (`griffin_lim`).
      griffin_lim_iterations: Griffin-Lim iterations in the exported graph,
        which make the phase consistent.
      subtract_floor: how many times the floor (`stft.floor_db`) is subtracted
        from each exported magnitude, so that what a generator puts slightly
        above the floor is silence instead of noise (spectral subtraction, Boll
        1979); 0 turns it off.
    """

    networks: Literal["frames", "dcgan"] = "frames"
    latent_dim: int = _bounded(1, 65536, 64)
    num_downsamples: int = _bounded(0, 16, 4)
    stem_stride: int = _bounded(1, 2, 1)
    condition: Literal["none", "label", "cluster"] = "none"
    clusters: int = _bounded(2, 65536, 50)
    minibatch_stddev: int = _bounded(1, 1024, 1)
    critic_input: Literal["window", "window_and_mel"] = "window"
    generator: NetworkConfig = NetworkConfig()
    critic: NetworkConfig = NetworkConfig()
    phase: Literal["integrated", "griffin_lim"] = "integrated"
    griffin_lim_iterations: int = _bounded(1, 10000, 32)
    subtract_floor: float = _bounded(0.0, 100.0, 1.05)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How the networks are trained.

    Attributes:
      loss: `wgan` (weight clipping; its paper uses rmsprop, learning rates of
        5e-5 and 5 critic steps), `wgan-gp` or `rpgan-r1r2`; see
        `stftgan_tf/models/losses.py` for the sources.
      penalty_weight: weight of the gradient penalty. Usual: 10 for `wgan-gp`,
        0.1 to 10 for `rpgan-r1r2`.
      penalty_interval: critic updates from one penalty to the next; the penalty
        is multiplied by this number (lazy regularisation, Karras et al. 2020,
        "Analyzing and Improving", appendix B). For `rpgan-r1r2`.
      texture_weight: weight in the generator's loss of a second critic, which
        judges fine structure (`stftgan_tf/models/texture.py`); 0 leaves it out.
        The weight grows linearly over the first 320,000 windows.
      weight_clip: largest absolute weight of the critic, for `wgan`.
      critic_steps: critic updates per generator update.
      batch_size: windows per critic update, over all devices.
      optimizer: `adam` or `rmsprop`, for all networks.
      generator_lr: learning rate of the generator.
      critic_lr: learning rate of the critics.
      beta_1: decay rate of Adam's first moment.
      beta_2: decay rate of Adam's second moment.
      ema_half_life_windows: half-life, in windows, of the running average of
        the generator's weights. The average is exported. Early in the training
        the half-life is a twentieth of the windows so far.
      steps: generator updates of the whole training.
      seed: determines the weights, the noise and the order of windows.
      precision: `float32`, or `mixed_bfloat16` (weights, scores and penalties
        stay float32); `auto` is `mixed_bfloat16` on a CPU with bfloat16
        instructions and `float32` elsewhere. Exports are always float32.
      jit_compile: compile with XLA; `auto` does so on one GPU, but not on a
        CPU or on several devices.
      steps_per_execution: steps per call of the compiled function. `steps`,
        the intervals of logs, previews and checkpoints, and `watch.every` must
        be multiples of it.
      strategy: `none` (one device), `mirrored` (all devices of this machine)
        or `multiworker` (the machines listed in TF_CONFIG).
      shuffle_windows: size of the shuffle buffer, in windows.
      log_every: steps from one log line to the next.
      preview_every: steps from one preview to the next.
      checkpoint_every: steps from one checkpoint to the next.
      keep_checkpoints: number of the newest checkpoints that are kept, in
        addition to the best one.
    """

    loss: Literal["wgan", "wgan-gp", "rpgan-r1r2"] = "wgan-gp"
    penalty_weight: float = _bounded(0, 1e6, 10.0)
    penalty_interval: int = _bounded(1, 1000, 1)
    texture_weight: float = _bounded(0, 100, 0.0)
    weight_clip: float = _bounded(1e-9, 1e3, 0.01)
    critic_steps: int = _bounded(1, 100, 1)
    batch_size: int = _bounded(1, 65536, 64)
    optimizer: Literal["adam", "rmsprop"] = "adam"
    generator_lr: float = _bounded(0, 10, 2e-4)
    critic_lr: float = _bounded(0, 10, 2e-4)
    beta_1: float = _bounded(0, 0.999999, 0.0)
    beta_2: float = _bounded(0, 0.999999, 0.9)
    ema_half_life_windows: float = _bounded(0, 1e12, 20000.0)
    steps: int = _bounded(1, UNBOUNDED, 10000)
    seed: int = _bounded(0, UNBOUNDED, 0)
    precision: Literal["auto", "float32", "mixed_bfloat16"] = "float32"
    jit_compile: Literal["auto", "true", "false"] = "auto"
    steps_per_execution: int = _bounded(1, 10000, 1)
    strategy: Literal["none", "mirrored", "multiworker"] = "none"
    shuffle_windows: int = _bounded(1, UNBOUNDED, 4096)
    log_every: int = _bounded(1, UNBOUNDED, 50)
    preview_every: int = _bounded(1, UNBOUNDED, 500)
    checkpoint_every: int = _bounded(1, UNBOUNDED, 500)
    keep_checkpoints: int = _bounded(1, 1000, 2)


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of what the critic sees, real and generated alike.

    Each of three changes (level, shift in time, masking of a band and of a
    stretch of time) is applied with the same probability, which rises while
    the critic separates too many windows (Karras et al. 2020, "Training GANs
    with Limited Data", section 3.1).

    Attributes:
      target: augmentation becomes more likely while the share of real windows
        that score above their generated partner exceeds this, on a scale from
        0 (half of them) to 1 (all). 0 turns augmentation off. Usual: 0.6.
      adjust_windows: windows in which the probability can rise by 1; it stops
        at 0.8.
      gain_db: largest change of level.
      shift_frames: largest shift in time.
      mask_frames: longest masked stretch of time.
      mask_bins: widest masked band.
    """

    target: float = _bounded(0, 1, 0.0)
    adjust_windows: int = _bounded(1, UNBOUNDED, 200000)
    gain_db: float = _bounded(0, 60, 6.0)
    shift_frames: int = _bounded(0, 65536, 8)
    mask_frames: int = _bounded(0, 65536, 16)
    mask_bins: int = _bounded(0, 65536, 32)


@dataclasses.dataclass(frozen=True)
class WatchConfig:
    """How variety is measured during training, and what a collapse triggers.

    Attributes:
      every: steps from one measurement to the next.
      windows: number of generated windows (from fixed latents) and of real
        windows that are compared.
      clusters: number of clusters for NDB, the number of statistically
        different bins.
      min_variety: variety is too low below this share of the variety of the
        data.
      patience: consecutive measurements of too low a variety that count as a
        collapse.
      on_collapse: `stop` ends the training; `warn` only logs.
    """

    every: int = _bounded(1, UNBOUNDED, 500)
    windows: int = _bounded(8, 65536, 512)
    clusters: int = _bounded(2, 1000, 50)
    min_variety: float = _bounded(0, 1, 0.5)
    patience: int = _bounded(1, 1000, 3)
    on_collapse: Literal["stop", "warn"] = "stop"


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """How an export is measured.

    Attributes:
      samples: number of generated windows, and the largest number of real
        windows compared with them.
      clusters: number of clusters for NDB, the number of statistically
        different bins.
      seed: seed of the first sample and of the clustering.
      classifier: `auto` trains a classifier of the labels, if the data has
        labels, for the metrics of audio (fid, inception_score and others);
        `off` leaves these metrics out.
    """

    samples: int = _bounded(50, 1000000, 1000)
    clusters: int = _bounded(2, 1000, 50)
    seed: int = _bounded(0, UNBOUNDED, 0)
    classifier: Literal["auto", "off"] = "auto"


@dataclasses.dataclass(frozen=True)
class ValidateConfig:
    """Limits that a data set must meet before training.

    The last five compare with a reference data set.

    Attributes:
      max_silent: largest share of silent windows.
      max_leaked: largest share of evaluation windows that are also training
        windows. The evaluation leaves these out, and near copies as well.
      max_clipped: largest share of values that standardisation clips, because
        they are more than 3 standard deviations from the mean.
      max_unlabelled: largest share of training windows without a label, if
        others have one.
      min_recognised: how often the nearest neighbours of a window must have
        its label, as a multiple of chance (the limit is at most halfway between
        chance and always). Not checked if more than half of the windows have
        the same label.
      min_speakers: minimum number of speakers in the training split, if the
        speakers are known.
      max_level_db: largest difference in mean level.
      max_spectrum: largest difference in mean spectrum, in standard deviations
        of the reference.
      max_duration: largest factor between the mean numbers of windows per
        recording.
      max_label_drift: largest Jensen-Shannon divergence of the labels, in
        nats.
      min_speaker_share: minimum number of speakers, as a fraction of the
        reference's.
    """

    max_silent: float = _bounded(0, 1, 0.3)
    max_leaked: float = _bounded(0, 1, 0.01)
    max_clipped: float = _bounded(0, 1, 0.05)
    max_unlabelled: float = _bounded(0, 1, 0.1)
    min_recognised: float = _bounded(0, 1000, 2.0)
    min_speakers: int = _bounded(1, UNBOUNDED, 2)
    max_level_db: float = _bounded(0, 1000, 6.0)
    max_spectrum: float = _bounded(0, 1000, 0.2)
    max_duration: float = _bounded(1, 1000, 2.0)
    max_label_drift: float = _bounded(0, 1, 0.1)
    min_speaker_share: float = _bounded(0, 1, 0.5)


@dataclasses.dataclass(frozen=True)
class BlessConfig:
    """How much worse than real windows an export may be and still be blessed.

    The limits apply to metrics of the evaluation. Real windows are those of the
    evaluation split, measured in the same way.

    Attributes:
      min_diversity: minimum of `diversity_ratio`, as a fraction of the value
        of real windows.
      min_apart: minimum of `nearest_self`, as a fraction of the value of real
        windows.
      min_precision: minimum of `precision`, as a fraction of the value of real
        windows.
      min_coverage: minimum of `coverage`, as a fraction of the value of real
        windows.
      min_recall: minimum of `recall`, as a fraction of the value of real
        windows.
      max_ndb: by how much `ndb` may exceed the value of real windows, as a
        fraction of the number of clusters.
      max_frechet: by how much `frechet` may exceed the value of real windows,
        as a fraction of the variance of the data.
      max_memorised: largest `memorised`, whatever that of real windows is.
      min_recognised: minimum of `label_recognised`, as a fraction of the value
        of real windows.
      max_worse: largest ratio of the generated to the real Frechet distance,
        relative to the same ratio of the last blessed export (1.2: at most a
        fifth worse).
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
    """Everything that a run depends on. The attributes are the sections."""

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
        """N, the samples that a window of T frames spans."""
        steps = (self.window.frames - 1) * self.stft.frame_step
        return steps + self.stft.frame_length

    @property
    def stride_samples(self) -> int:
        """Samples from the start of one window to that of the next."""
        return self.window.stride_frames * self.stft.frame_step

    @property
    def window_shape(self) -> tuple[int, int]:
        """(T, F)."""
        return self.window.frames, self.stft.bins

    @property
    def log_floor(self) -> float:
        """Natural logarithm of the smallest magnitude (see `stft.floor_db`)."""
        level_db = 0.0 if self.audio.level == "none" else self.audio.level_db
        return (level_db + self.stft.floor_db) / 20 * math.log(10)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The complete config as nested plain values."""
        return dataclasses.asdict(self)

    def to_yaml(self) -> str:
        """The complete config as YAML that loads back to the same config."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    def data_dict(self) -> dict[str, dict[str, Any]]:
        """The sections that the bytes of the shards depend on."""
        sections = self.to_dict()
        return {name: sections[name] for name in DATA_SECTIONS}

    def data_hash(self) -> str:
        """SHA-256 of `data_dict`, in hexadecimal."""
        text = json.dumps(self.data_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
