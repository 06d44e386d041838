"""What a decoder is, and decoders made of others."""

import bisect
import dataclasses
import itertools
from typing import Protocol

import numpy as np

from pipeline.audio.errors import AudioError


class Decoder(Protocol):
    """An open recording.

    Attributes:
      rate_hz: sample rate of the recording.
      frames: length in sample frames.
      channels: number of channels.
      slack: number of frames by which `frames`, an estimate, may exceed the
        true length.
      notes: what is wrong with the file and has been dealt with, such as a
        length that its header does not give.
    """

    rate_hz: int
    frames: int
    channels: int
    slack: int
    notes: tuple[str, ...]

    def read(self, start: int, count: int) -> np.ndarray:
        """Up to `count` frames from `start`, float32 [frames, channels]."""


@dataclasses.dataclass(frozen=True)
class Excerpt:
    """A recording that is a part of a file.

    Attributes:
      path: the file.
      start_secs: start of the excerpt.
      end_secs: its end; None for the end of the file.
    """

    path: str
    start_secs: float = 0.0
    end_secs: float | None = None


class ArrayDecoder:
    """Samples in memory, float32 [frames, channels]."""

    slack = 0
    notes = ()

    def __init__(self, samples: np.ndarray, rate_hz: int):
        self._samples, self.rate_hz = samples, rate_hz
        self.frames, self.channels = samples.shape

    def read(self, start: int, count: int) -> np.ndarray:
        """Up to `count` frames from `start`, float32 [frames, channels]."""
        return self._samples[start : start + count]


class ChainDecoder:
    """Several streams of a file, one after another."""

    def __init__(self, decoders: list[Decoder]):
        """Takes the decoders of the streams.

        Raises:
          AudioError: if they differ in sample rate or channels.
        """
        self._decoders, first = decoders, decoders[0]
        self.rate_hz, self.channels = first.rate_hz, first.channels
        for decoder in decoders:
            if (decoder.rate_hz, decoder.channels) != (
                self.rate_hz,
                self.channels,
            ):
                raise AudioError(
                    f"joined: a stream of {self.rate_hz} Hz with "
                    f"{self.channels} channels and then one of "
                    f"{decoder.rate_hz} Hz with {decoder.channels}; separate "
                    "them"
                )
        self.notes = first.notes
        self.slack = sum(decoder.slack for decoder in decoders)
        self._stops = list(
            itertools.accumulate(decoder.frames for decoder in decoders)
        )
        self.frames = self._stops[-1]

    def read(self, start: int, count: int) -> np.ndarray:
        """Up to `count` frames from `start`, float32 [frames, channels]."""
        blocks = [np.zeros((0, self.channels), np.float32)]
        index = bisect.bisect_right(self._stops, start)
        while count > 0 and index < len(self._stops):
            decoder, stop = self._decoders[index], self._stops[index]
            size = min(count, stop - start)
            block = decoder.read(start - (stop - decoder.frames), size)
            blocks.append(block)
            # A stream that ends early must not shift the next one.
            if len(block) < size:
                break
            start, count, index = stop, count - size, index + 1
        return np.concatenate(blocks)


class ExcerptDecoder:
    """Part of a recording, which behaves like a recording of its own."""

    def __init__(self, decoder: Decoder, excerpt: Excerpt):
        self._decoder, self.rate_hz = decoder, decoder.rate_hz
        self.channels, self.notes = decoder.channels, decoder.notes
        total, end_secs = decoder.frames, excerpt.end_secs
        self._start = round(excerpt.start_secs * self.rate_hz)
        stop = total if end_secs is None else round(end_secs * self.rate_hz)
        if self._start >= total:
            raise AudioError(
                f"excerpt: starts at {excerpt.start_secs:g} s; the file ends "
                f"at {total / self.rate_hz:.2f} s"
            )
        # Times in a manifest are rounded, rarely to more than this.
        if stop > total + self.rate_hz / 10:
            self.notes += ("excerpt that ends after its file",)
        self.frames = min(stop, total) - self._start
        # The estimated end of the file matters only to its last excerpt.
        self.slack = decoder.slack if stop > total - decoder.slack else 0

    def read(self, start: int, count: int) -> np.ndarray:
        """Up to `count` frames from `start`, float32 [frames, channels]."""
        count = min(count, self.frames - start)
        return self._decoder.read(self._start + start, max(0, count))
