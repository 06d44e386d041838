"""The audio stream of a container, decoded by PyAV (FFmpeg)."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np

from pipeline.audio.errors import AudioError
from pipeline.audio.samples import as_float
from stftgan_tf.errors import first_line

# FFmpeg estimates the length of other formats from their bit rate.
_FORMATS_WITH_LENGTH = ("mov", "matroska", "asf", "wv", "tta", "ape")


@dataclasses.dataclass(frozen=True)
class Grid:
    """Blocks of equal length, whose time stamps therefore give positions.

    Attributes:
      first: length of the first block, which may differ.
      step: length of the others.
      stamp: time stamp of the second block, in sample frames. Some containers
        round the stamps to milliseconds.
    """

    first: int
    step: int
    stamp: float

    def position(self, stamp: float) -> int:
        """The position of the block with a time stamp."""
        return self.first + round((stamp - self.stamp) / self.step) * self.step


class AvStream:
    """The first audio stream of a container.

    Attributes:
      rate_hz: sample rate; known after the first block.
      channels: number of channels; known after the first block.
      declared_secs: length that the container declares, 0.0 if unknown.
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
        # Lengths of the first and second block and stamp of the second, which
        # the blocks after them must fit; and the previous block's length.
        self._first = self._step = self._length = self._count = 0
        self._stamp, self._is_regular = 0.0, True
        self._is_at_start = True
        codec = self._stream.codec_context
        if not codec:
            raise AudioError("undecodable: FFmpeg does not know the codec")
        self._is_wma = codec.name in ("wmav1", "wmav2")
        if self._is_wma:
            codec.flags2 |= av.codec.context.Flags2.skip_manual

    def close(self) -> None:
        """Closes the container."""
        self._container.close()

    def seek(self, stamp: float) -> None:
        """Goes to a block at or before a time stamp in sample frames."""
        rate_hz = self._stream.codec_context.sample_rate
        target = int(stamp / (rate_hz * self._stream.time_base))
        self._is_at_start = False
        try:
            self._container.seek(target, stream=self._stream)
        except self._errors as error:
            raise AudioError(f"undecodable: {_reason(error)}") from error

    def grid(self) -> Grid | None:
        """The grid of the blocks; None if they are few or not regular."""
        # The time stamps of MP3 frames change after a seek.
        is_mp3 = self._stream.codec_context.name.startswith("mp3")
        if is_mp3 or not self._is_regular or self._count < 4:
            return None
        return Grid(self._first, self._step, self._stamp)

    def _add_to_grid(self, stamp: float, length: int) -> None:
        """Checks that a block fits those before it."""
        if self._count == 0:
            self._first = length
        elif self._count == 1:
            self._step, self._stamp = length, stamp
        else:
            expected = self._stamp + (self._count - 1) * self._step
            # Only the last block may be shorter, so this checks the previous.
            self._is_regular &= (
                self._length == self._step
                and abs(stamp - expected) < self._step / 4
            )
        self._length = length
        self._count += 1

    def blocks(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yields the samples, float32 [frames, channels].

        Yields:
          The time stamp, in sample frames, and the samples.

        Raises:
          AudioError: if they cannot be decoded, or if the sample rate or the
            number of channels changes.
        """
        # One block late, because the last one may have to be shortened.
        last = None
        for packet, frame in self._frames():
            if last:
                yield last[:2]
            last = *self._block(packet, frame), packet
        if last:
            stamp, block, packet = last
            yield stamp, block[: self._packet_frames(packet)]

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

    def _block(self, packet: Any, frame: Any) -> tuple[float, np.ndarray]:
        """The time stamp and the samples of a frame."""
        samples = frame.to_ndarray()
        channels = frame.layout.nb_channels
        if frame.format.is_planar:
            samples = samples.T
        samples = as_float(samples.reshape(-1, channels))
        shape = frame.sample_rate, channels
        if not self.channels:
            self.rate_hz, self.channels = shape
            if self._is_at_start:
                samples = samples[self._priming(packet, frame) :]
        elif shape != (self.rate_hz, self.channels):
            raise AudioError("joined: the sample rate or the channels change")
        self._is_regular &= frame.pts is not None
        stamp = (frame.pts or 0) * self._stream.time_base * self.rate_hz
        self._add_to_grid(float(stamp), len(samples))
        return float(stamp), samples

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
        """Length of the last packet in frames; None if not known exactly."""
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
