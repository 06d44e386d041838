"""PyAV (FFmpeg), for the formats that libsndfile does not read.

A container gives the length of its audio only roughly, so all of it is decoded
once to count the samples.
"""

import dataclasses
import os
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np

from pipeline.audio.errors import AudioError
from pipeline.audio.samples import as_float
from stftgan_tf.errors import first_line

# Up to this many samples, of all channels together, are kept in memory.
KEPT_SAMPLES = 1 << 24

# Decoding starts this long before a position, so that the state of the decoder
# is that of decoding from the beginning.
_PREROLL_SECS = 1.0

# A complete file may be this much shorter than its header declares.
_TOLERANCE_SECS = 0.25

# FFmpeg estimates the length of other formats from their bit rate.
_FORMATS_WITH_LENGTH = ("mov", "matroska", "asf", "wv", "tta", "ape")


@dataclasses.dataclass(frozen=True)
class _Properties:
    """What decoding a whole file shows.

    Attributes:
      rate_hz: sample rate.
      channels: number of channels.
      frames: length in sample frames.
      origin: position of the first sample by the time stamps, in sample frames;
        None if the time stamps do not give exact positions.
    """

    rate_hz: int
    channels: int
    frames: int
    origin: int | None


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
        self._stream: _Stream | None = None
        self._blocks: Iterator[tuple[int, np.ndarray]] = iter(())
        # What is left of the current block, and the position where it starts.
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
        self._stream = stream = _Stream(self._file, self._format)
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
        origin = stream.origin if stream.is_exact else None
        return _Properties(stream.rate_hz, stream.channels, frames, origin)

    def _seek(self, start: int) -> None:
        """Continues decoding at a position."""
        origin = self._properties.origin
        early = start - round(_PREROLL_SECS * self.rate_hz)
        self._position = self._open(None if origin is None else origin + early)
        # A file without an index may go too far.
        if self._position > start:
            self._position = self._open(None)
        self._read_on(start - self._position, is_kept=False)

    def _open(self, position: int | None) -> int:
        """Opens the container at or before a position.

        Args:
          position: by the time stamps; None for the beginning.

        Returns:
          The position of the next sample from the beginning.
        """
        self.close()
        self._stream = stream = _Stream(self._file, self._format)
        self._blocks = stream.blocks()
        origin = self._properties.origin
        if position is None or position <= origin:
            self._rest = np.zeros((0, self.channels), np.float32)
            return 0
        stream.seek(position)
        stamp, self._rest = next(
            self._blocks, (origin + self.frames, self._rest[:0])
        )
        return stamp - origin

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


class _Stream:
    """The first audio stream of a container.

    Attributes:
      rate_hz: sample rate; known after the first block.
      channels: number of channels; known after the first block.
      declared_secs: length that the container declares, 0.0 if unknown.
      origin: position of the first sample by its time stamp.
      is_exact: whether the time stamps so far agree with the sample counts.
    """

    def __init__(self, file: BinaryIO, av_format: str):
        try:
            import av
        except ImportError as error:
            raise AudioError(
                f"unsupported: decoding {av_format} requires PyAV; "
                "pip install '.[av]'"
            ) from error
        self._errors = av.FFmpegError
        file.seek(0)
        try:
            # A known format keeps FFmpeg from guessing, and from formats that
            # refer to other files.
            self._container = av.open(
                file, format=av_format, metadata_errors="replace"
            )
        except self._errors as error:
            raise AudioError(f"undecodable: {_reason(error)}") from error
        if not self._container.streams.audio:
            raise AudioError("no audio: the file has no audio stream")
        self._stream = self._container.streams.audio[0]
        # One thread: decoding runs beside the worker already.
        self._stream.thread_type = "NONE"
        self._format = av_format
        self.declared_secs = self._declared_secs()
        self.rate_hz = self.channels = 0
        self.origin: int | None = None
        self.is_exact = True
        self._count = 0
        codec = self._stream.codec_context
        if not codec:
            raise AudioError("undecodable: FFmpeg does not know the codec")
        self._is_wma = codec.name in ("wmav1", "wmav2")
        if self._is_wma:
            codec.flags2 |= av.codec.context.Flags2.skip_manual

    def close(self) -> None:
        """Closes the container."""
        self._container.close()

    def seek(self, position: int) -> None:
        """Goes to a frame at or before a position in sample frames."""
        rate_hz = self._stream.codec_context.sample_rate
        stamp = int(position / (rate_hz * self._stream.time_base))
        try:
            self._container.seek(stamp, stream=self._stream)
        except self._errors as error:
            raise AudioError(f"undecodable: {_reason(error)}") from error

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yields the samples, float32 [frames, channels].

        Yields:
          The position by the time stamps, in sample frames, and the samples.

        Raises:
          AudioError: if they cannot be decoded, or if the sample rate or the
            number of channels changes.
        """
        held = None
        for packet, frame in self._frames():
            if held:
                yield held[:2]
            held = *self._block(packet, frame), packet
        if held:
            position, block, packet = held
            yield position, block[: self._packet_frames(packet)]

    def _frames(self) -> Iterator[tuple[Any, Any]]:
        """Yields packets and what they are decoded to."""
        try:
            for packet in self._container.demux(self._stream):
                if packet.is_corrupt:
                    raise AudioError("truncated: an incomplete packet")
                for frame in packet.decode():
                    yield packet, frame
        except self._errors as error:
            raise AudioError(f"undecodable: {_reason(error)}") from error

    def _block(self, packet: Any, frame: Any) -> tuple[int, np.ndarray]:
        """The position and the samples of a frame."""
        samples = frame.to_ndarray()
        channels = frame.layout.nb_channels
        if frame.format.is_planar:
            samples = samples.T
        samples = as_float(samples.reshape(-1, channels))
        shape = frame.sample_rate, channels
        if not self.channels:
            self.rate_hz, self.channels = shape
            samples = samples[self._priming(packet, frame) :]
        elif shape != (self.rate_hz, self.channels):
            raise AudioError("joined: the sample rate or the channels change")
        position = self._position(frame)
        self._count += len(samples)
        return position, samples

    def _position(self, frame: Any) -> int:
        """The position of a frame by its time stamp, in sample frames."""
        scale = self._stream.time_base * self.rate_hz
        if frame.pts is None or scale.denominator != 1:
            self.is_exact = False
            return 0
        position = int(frame.pts * scale)
        if self.origin is None:
            self.origin = position
        self.is_exact &= position - self.origin == self._count
        return position

    def _priming(self, packet: Any, frame: Any) -> int:
        """Samples before the signal that FFmpeg has not removed."""
        if self._is_wma:
            # FFmpeg would remove two frames, but the signal starts after one.
            return _skipped(frame.side_data) // 2
        head = self._stream.codec_context.extradata or b""
        if self._format != "matroska" or head[:8] != b"OpusHead":
            return 0
        # FFmpeg takes the delay (RFC 7845, section 5.1), which is at 48 kHz, to
        # be at the rate of the original.
        delay = int.from_bytes(head[10:12], "little")
        return max(0, delay - _skipped(packet.iter_sidedata()))

    def _packet_frames(self, packet: Any) -> int | None:
        """Length of the last packet if the container gives it exactly."""
        scale = self._stream.time_base * self.rate_hz
        is_known = packet.pts is not None and packet.duration
        if self._format != "mov" or scale.denominator != 1 or not is_known:
            return None
        stop = packet.pts + packet.duration
        # The length of the stream may be rounded to milliseconds.
        declared = self._stream.duration
        if declared and (stop - declared) * scale > self.rate_hz / 1000:
            stop = max(packet.pts, declared)
        return int((stop - packet.pts) * scale)

    def _declared_secs(self) -> float:
        stream, container = self._stream, self._container
        if self._format not in _FORMATS_WITH_LENGTH:
            return 0.0
        if stream.duration is not None:
            return float(stream.duration * stream.time_base)
        # The length of a container is that of its longest stream.
        if container.duration is None or len(container.streams) > 1:
            return 0.0
        return container.duration / 1e6


def _skipped(side_data: Iterable[Any]) -> int:
    """The number of samples that FFmpeg wants to remove from a frame."""
    for entry in side_data:
        if "SKIP_SAMPLES" in str(getattr(entry, "type", "")).upper() or (
            getattr(entry, "data_type", "") == "skip_samples"
        ):
            return int.from_bytes(bytes(entry)[:4], "little")
    return 0


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or first_line(error)


def _identity(file: BinaryIO) -> tuple[int, ...]:
    """What tells a local file apart; empty for other files."""
    try:
        status = os.fstat(file.fileno())
    except (AttributeError, OSError):
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
