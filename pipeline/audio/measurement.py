"""Measures the channels of a recording while it streams."""

import dataclasses

import numpy as np

from pipeline.audio import levels as levels_lib
from pipeline.audio import speech
from pipeline.audio.decoders.base import Decoder
from pipeline.audio.errors import AudioError
from pipeline.audio.levels import Levels, Meter, WordLength
from stftgan_tf.config import AudioConfig

# The word length matters only to blocks below this level (-30 dB of full
# scale), twice the step of 8 bits.
_QUIET = 10 ** (-30 / 20)

# Channels cancel each other if their mean is this far below them (40 dB).
_CANCELLED = 100.0


@dataclasses.dataclass(frozen=True, slots=True)
class ChannelStats:
    """Extent and level of one channel of a recording.

    Attributes:
      start: first sample after the trimmed silence, at the target rate; 0 if
        nothing is trimmed.
      samples: number of samples from `start` to the trimmed silence at the
        end, at the target rate.
      mean: of the samples (DC), which `pipeline.audio.reading` subtracts. No
        level includes it.
      peak: largest absolute sample.
      rms: root mean square.
      active: RMS of the active parts (`levels.active_level`).
      noise: RMS of the noise floor; 0 if none is clear
        (`levels.noise_floor`).
      source_frames: length of the whole recording in sample frames, at its
        own rate.
      speech: first sample and end of each stretch of speech, at the target
        rate, increasing.
    """

    start: int
    samples: int
    mean: float
    peak: float
    rms: float
    active: float
    noise: float
    source_frames: int
    speech: tuple[tuple[int, int], ...] = ()


class Measurement:
    """Statistics of a recording whose blocks are added one by one.

    Args:
      decoder: of the recording.
      config: choice of channels, trimming, target rate.
      find_speech: whether only channels with speech are used.
    """

    def __init__(
        self, decoder: Decoder, config: AudioConfig, find_speech: bool
    ):
        self._rate_hz, self._frames = decoder.rate_hz, decoder.frames
        self._config, self._find_speech = config, find_speech
        self._meters: list[Meter] = []
        self._word_length = WordLength()
        # Level of the loudest channel where their mean is quiet.
        self._unmixed = 0.0

    @property
    def count(self) -> int:
        """Number of samples in a channel."""
        return self._meters[0].count if self._meters else 0

    def add(self, block: np.ndarray) -> list[np.ndarray]:
        """Adds a block [N, C]; returns the channels [N] that are used."""
        channels = select_channels(block, self._config)
        if not self._meters:
            self._meters = [
                Meter(
                    self._rate_hz,
                    self._find_speech,
                    keep_peaks=self._config.trim_db > 0,
                )
                for _ in channels
            ]
        pairs = zip(self._meters, channels, strict=True)
        # A list, because each channel must be added.
        if min([meter.add(samples) for meter, samples in pairs]) < _QUIET:
            self._word_length.add(block)
            if self._config.channels == "mean" and block.shape[1] > 1:
                loudest = float(block.std(axis=0).max())
                self._unmixed = max(self._unmixed, loudest)
        return channels

    def stats(self) -> list[ChannelStats | None]:
        """The statistics of each channel; None if it is not used.

        Raises:
          AudioError: if no channel is.
        """
        levels = [meter.levels() for meter in self._meters]
        step = self._word_length.step
        reasons = [levels_lib.silence(channel, step) for channel in levels]
        if all(reasons):
            raise AudioError(f"silent: {self._hint(levels) or reasons[0]}")
        stats = [
            None if reason else self._channel_stats(channel)
            for channel, reason in zip(levels, reasons, strict=True)
        ]
        if self._find_speech:
            stats = [s if s and s.speech else None for s in stats]
            if not any(stats):
                raise AudioError(
                    "no speech: nothing exceeds the noise for long enough"
                )
        return stats

    def _hint(self, levels: list[Levels]) -> str:
        """The reason if only the mean of the channels is silent."""
        if self._unmixed > _CANCELLED * levels[0].rms:
            return (
                "the channels cancel each other; set audio.channels to first "
                "or split"
            )
        return ""

    def _channel_stats(self, levels: Levels) -> ChannelStats:
        """The statistics of a channel that is not silent."""
        first, last = 0, len(levels.powers)
        if self._config.trim_db:
            low = levels.peak * 10 ** (-self._config.trim_db / 20)
            loud = np.flatnonzero(levels.peaks > low)
            first, last = int(loud[0]), int(loud[-1]) + 1
        start = self._position(levels, first)
        stop = max(start + 1, self._position(levels, last))
        active = levels_lib.active_level(levels.powers)
        runs = []
        if self._find_speech:
            runs = speech.stretches(levels.emphasised).tolist()
        return ChannelStats(
            start=start,
            samples=stop - start,
            mean=levels.mean,
            peak=levels.peak,
            rms=levels.rms,
            active=active,
            noise=levels_lib.noise_floor(levels.powers, active),
            source_frames=self._frames,
            speech=tuple(
                (self._position(levels, low), self._position(levels, high))
                for low, high in runs
            ),
        )

    def _position(self, levels: Levels, block: int) -> int:
        """First sample of a block, at the target rate."""
        sample = min(levels.count, block * levels.step)
        return sample * self._config.sample_rate_hz // self._rate_hz


def select_channels(block: np.ndarray, config: AudioConfig) -> list[np.ndarray]:
    """The channels [N] of a block [N, C] that are used: one, or all."""
    if config.channels == "split":
        return list(np.ascontiguousarray(block.T))
    if config.channels == "first" or block.shape[1] == 1:
        return [np.ascontiguousarray(block[:, 0])]
    return [block.mean(axis=1, dtype=np.float32)]
