"""PyAV (FFmpeg), for the formats that libsndfile does not read.

A container gives the length of its audio only roughly, so all of it is decoded
once to count the samples.
"""

import dataclasses
import os
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from pipeline.audio.decoders.av_stream import AvStream, Grid
from pipeline.audio.errors import AudioError

# Up to this many samples, of all channels together, are kept in memory.
KEPT_SAMPLES = 1 << 24

# Decoding starts this long before a position, so that the state of the decoder
# is that of decoding from the beginning.
_PREROLL_SECS = 1.0

# A complete file may be this much shorter than its header declares.
_TOLERANCE_SECS = 0.25


@dataclasses.dataclass(frozen=True)
class _Properties:
    """What decoding a whole file shows.

    Attributes:
      rate_hz: sample rate.
      channels: number of channels.
      frames: length in sample frames.
      grid: the positions of its blocks; None if their lengths differ.
    """

    rate_hz: int
    channels: int
    frames: int
    grid: Grid | None


# The properties of long files by `_identity`, so that not every segment of a
# recording requires all of it to be decoded.
_known: dict[tuple[int, ...], _Properties] = {}


class AvDecoder:
    """PyAV, for an open file."""

    slack = 0

    def __init__(
        self, file: BinaryIO, av_format: str, notes: tuple[str, ...] = ()
    ):
        """Opens a file.

        Args:
          file: the file.
          av_format: FFmpeg's name of its format.
          notes: see `Decoder`.

        Raises:
          AudioError: if it cannot be decoded, or PyAV is not installed.
        """
        self._file, self._format, self.notes = file, av_format, notes
        self._stream: AvStream | None = None
        self._blocks: Iterator[tuple[float, np.ndarray]] = iter(())
        # What is left of the current block, and its position in the recording.
        self._rest, self._position = np.zeros((0, 1), np.float32), 0
        self._kept: np.ndarray | None = None
        identity = _identity(file)
        self._properties = _known.get(identity) or self._decode_all()
        if self._kept is None and identity:
            _known[identity] = self._properties
        self.rate_hz = self._properties.rate_hz
        self.channels = self._properties.channels
        self.frames = self._properties.frames

    def read(self, start: int, count: int) -> np.ndarray:
        """Up to `count` frames from `start`, float32 [frames, channels]."""
        if self._kept is not None:
            return self._kept[start : start + count]
        if start != self._position or not self._stream:
            self._seek(start)
        return self._read_on(min(count, self.frames - start))

    def close(self) -> None:
        """Closes the container, but not its file."""
        if self._stream:
            self._stream.close()
            self._stream = None

    def _decode_all(self) -> _Properties:
        """Decodes the file, and keeps its samples if they are few."""
        kept, frames = [], 0
        self._stream = stream = AvStream(self._file, self._format)
        for _, block in stream.blocks():
            frames += len(block)
            if frames * stream.channels <= KEPT_SAMPLES:
                kept.append(block)
        self.close()
        secs = frames / stream.rate_hz if frames else 0.0
        if stream.declared_secs - secs > _TOLERANCE_SECS:
            raise AudioError(
                f"truncated: {secs:.2f} of {stream.declared_secs:.2f} s decoded"
            )
        if not frames:
            raise AudioError("empty: 0 samples")
        if frames * stream.channels <= KEPT_SAMPLES:
            self._kept = np.concatenate(kept)
        return _Properties(
            stream.rate_hz, stream.channels, frames, stream.grid()
        )

    def _seek(self, start: int) -> None:
        """Continues decoding at a position."""
        early = start - round(_PREROLL_SECS * self.rate_hz)
        self._position = self._open(early)
        # Without an index, seeking may go too far.
        if self._position > start:
            self._position = self._open(0)
        self._read_on(start - self._position, is_kept=False)

    def _open(self, position: int) -> int:
        """Opens the container; returns the position of the next sample.

        Args:
          position: where to start, at the earliest at the beginning. Without a
            grid, decoding starts at the beginning.
        """
        self.close()
        self._stream = stream = AvStream(self._file, self._format)
        self._blocks = stream.blocks()
        self._rest = np.zeros((0, self.channels), np.float32)
        grid = self._properties.grid
        if not grid or position <= grid.first + 2 * grid.step:
            return 0
        stream.seek(grid.stamp + position - grid.first - 2 * grid.step)
        # The first block may be incomplete.
        stamp, _ = next(self._blocks, (grid.stamp + self.frames, None))
        return grid.position(stamp) + grid.step

    def _read_on(self, count: int, is_kept: bool = True) -> np.ndarray:
        """The next samples."""
        parts = [np.zeros((0, self.channels), np.float32)]
        while count > 0:
            if not len(self._rest):
                _, self._rest = next(self._blocks, (0, self._rest))
                if not len(self._rest):
                    break
            part, self._rest = self._rest[:count], self._rest[count:]
            count -= len(part)
            self._position += len(part)
            if is_kept:
                parts.append(part)
        return np.concatenate(parts)


def _identity(file: BinaryIO) -> tuple[int, ...]:
    """Identifies the content of a local file; empty for other files."""
    try:
        status = os.fstat(file.fileno())
    except (AttributeError, OSError):
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
