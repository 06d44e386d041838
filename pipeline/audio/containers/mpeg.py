"""Length of MPEG audio, such as MP3, by counting its frames.

Without a Xing or VBRI header, libsndfile (mpg123) estimates the length from the
file's size and the first frame's bit rate, and stops there. Tags, other bytes
between the frames, and a second MP3 in the same file lead it astray. It is
therefore given the frames only, after a Xing header that states their number.
"""

import dataclasses
import mmap
import struct

from pipeline.audio.containers import mpeg_tags
from pipeline.audio.containers.layout import Layout, Piece
from pipeline.audio.containers.mpeg_frames import Kind, frame_kind
from pipeline.audio.errors import AudioError

JUNK_NOTE = "bytes in an MP3 that belong to no frame"
COUNT_NOTE = "wrong number of frames in the header of an MP3"

# More than the largest frame.
_FRAME_BYTES = 1 << 13

# Numbers of frames in a row that are no coincidence: of a stream whose kind is
# known, and of any stream.
_RUN_FRAMES, _NEW_RUN_FRAMES = 2, 4

# An ID3v2 tag of zeros, without which libsndfile recognises MPEG audio only in
# files that it opens by their path.
_EMPTY_TAG = b"ID3\4\0\0\0\0\0\x76" + bytes(0x76)

# A file in memory, or mapped into it.
Bytes = bytes | mmap.mmap


def mpeg_layout(data: Bytes, start: int, stop: int) -> Layout | None:
    """The layout of MPEG audio.

    Args:
      data: the file.
      start: first byte of the audio, or of tags before it.
      stop: end of the audio, or of tags after it.

    Returns:
      The layout, or None if there are no frames.

    Raises:
      AudioError: if the audio is truncated, or if it consists of several
        streams of different kinds.
    """
    scan = _Scan(data, start, stop)
    scan.run()
    if not scan.frames:
        return None
    scan.check_complete()
    return scan.layout()


@dataclasses.dataclass(frozen=True)
class _Info:
    """A frame without audio that gives a length: Xing, Info or VBRI.

    Attributes:
      start: position in the file.
      stop: its end.
      frames: number of frames in the stream; 0 if unknown.
      bytes: size of the stream; 0 if unknown.
      field: position of the number of frames in the file; None if libsndfile
        does not use it.
    """

    start: int
    stop: int
    frames: int
    bytes: int
    field: int | None


class _Scan:
    """Finds the frames in a file.

    Attributes:
      kind: of all frames; None if none is found.
      frames: number of frames with audio.
      infos: frames without audio.
      spans: the ranges [start, stop) of the frames with audio.
      partial: present and declared bytes of an incomplete frame at the end.
      junk: number of bytes that belong neither to frames nor to tags.
      leading_tags: number of tags before the first frame.
    """

    def __init__(self, data: Bytes, start: int, stop: int):
        self._data, self._start = data, start
        tail_start = max(start, stop - (1 << 20))
        tags_start = mpeg_tags.tags_start(data[tail_start:stop])
        self._stop = tail_start + tags_start
        self.kind: Kind | None = None
        self.frames = self.junk = self.leading_tags = 0
        self.infos: list[_Info] = []
        self.spans: list[tuple[int, int]] = []
        self.partial: tuple[int, int] | None = None

    def run(self) -> None:
        """Goes through the file."""
        position = self._start
        while position < self._stop and not self.partial:
            if size := self._tag_bytes(position):
                self.leading_tags += not self.spans
                position += size
            elif info := self._info(position):
                self.infos.append(info)
                position = info.stop
            else:
                stop = self._add_frames(position)
                if stop == position and not self.partial:
                    stop = self._synchronise(position)
                position = stop

    def check_complete(self) -> None:
        """Raises AudioError if frames are missing at the end."""
        declared = self._declared_frames()
        if self.partial and self.frames != declared:
            raise AudioError(
                f"truncated: the last MPEG frame has {self.partial[0]} of "
                f"{self.partial[1]} bytes"
            )
        # Some writers count the frame that contains the number.
        if declared <= self.frames + 1:
            return
        size = sum(stop - start for start, stop in self.spans)
        size += sum(info.stop - info.start for info in self.infos)
        declared_bytes = sum(info.bytes for info in self.infos)
        # If all bytes are there, the number of frames is wrong.
        if not 0 < declared_bytes <= size + self.junk:
            raise AudioError(
                f"truncated: {self.frames} of {declared} MPEG frames"
            )

    def layout(self) -> Layout:
        """The layout that makes libsndfile decode all the frames."""
        samples = self.frames * self.kind.samples
        notes = (JUNK_NOTE,) if self.junk else ()
        if self._declared_frames() not in (0, self.frames):
            notes += (COUNT_NOTE,)
        head: list[Piece] = [_EMPTY_TAG]
        if self.kind.layer == 3:
            head.append(self._head())
        return Layout(
            (tuple(head + self.spans),),
            mpeg_samples=samples,
            is_file_enough=self._is_plain(),
            notes=notes,
        )

    def _declared_frames(self) -> int:
        """Number of frames by the headers of all streams; 0 if unknown."""
        if not all(info.frames for info in self.infos):
            return 0
        return sum(info.frames for info in self.infos)

    def _is_plain(self) -> bool:
        """Whether libsndfile decodes just these frames from the file as is."""
        if len(self.infos) != 1 or len(self.spans) != 1:
            return False
        (info,) = self.infos
        return (
            info.field is not None
            and info.frames == self.frames
            and info.stop == self.spans[0][0]
            and self._start == 0
            and self.leading_tags <= 1
            and not self.junk
        )

    def _head(self) -> bytes:
        """A frame that gives the number of frames."""
        count = struct.pack(">I", self.frames)
        for info in self.infos[:1]:
            if info.field:
                return self._changed(info, count)
        # At the highest bit rate, because mpg123 ignores small frames.
        third = 14 << 4 | self.kind.rate_index << 2
        fourth = 0xC0 if self.kind.is_mono else 0
        header = bytes([0xFF, self.kind.header_byte, third, fourth])
        info = bytes(self.kind.side_bytes) + b"Info\0\0\0\1" + count
        return (header + info).ljust(self.kind.sizes[third], b"\0")

    def _changed(self, info: _Info, count: bytes) -> bytes:
        """A frame with the right numbers of frames and bytes."""
        numbers = count
        # The flag of the second number precedes the first one.
        if self._data[info.field - 1] & 2:
            size = info.stop - info.start
            size += sum(stop - start for start, stop in self.spans)
            numbers += struct.pack(">I", size)
        rest = self._data[info.field + len(numbers) : info.stop]
        return self._data[info.start : info.field] + numbers + rest

    def _tag_bytes(self, position: int) -> int:
        head = self._data[position : position + mpeg_tags.HEAD_BYTES]
        return mpeg_tags.tag_bytes(head)

    def _info(self, position: int) -> _Info | None:
        """The frame at a position if it gives a length."""
        data = self._data
        size = self.kind.size(data[position : position + 4]) if self.kind else 0
        if not size or position + size > self._stop:
            return None
        name = self._name_position(position)
        if not name:
            return None
        stop = position + size
        if data[name : name + 4] == b"VBRI":
            length, frames = struct.unpack(">II", data[name + 10 : name + 18])
            return _Info(position, stop, frames, length, None)
        flags = data[name + 7]
        numbers = struct.unpack(">II", data[name + 8 : name + 16])
        frames = numbers[0] if flags & 1 else 0
        length = numbers[flags & 1] if flags & 2 else 0
        return _Info(
            position, stop, frames, length, name + 8 if flags & 1 else None
        )

    def _name_position(self, frame: int) -> int:
        """Position of Xing, Info or VBRI in a frame, 0 if it has none."""
        if self.kind.layer != 3:
            return 0
        data, position = self._data, frame + 4 + self.kind.side_bytes
        # Xing and Info may follow a checksum of 2 bytes.
        for name in (position, position + 2):
            if data[name : name + 4] in (b"Xing", b"Info"):
                return name
        return frame + 36 if data[frame + 36 : frame + 40] == b"VBRI" else 0

    def _add_frames(self, start: int) -> int:
        """Adds the frames that start at a position; returns their end."""
        if not self.kind:
            return start
        # This loop runs once a frame, so it is kept fast.
        data, stop, sizes = self._data, self._stop, self.kind.sizes
        second, is_mono = self.kind.header_byte, self.kind.is_mono
        mark = 4 + self.kind.side_bytes
        position, count = start, 0
        while position + 4 <= stop:
            first, byte, third, fourth = data[position : position + 4]
            size = sizes[third]
            if (
                first != 0xFF
                or byte | 1 != second
                or not size
                or (fourth >> 6 == 3) != is_mono
            ):
                break
            if position + size > stop:
                self.partial = stop - position, size
                break
            # The frame of another stream that gives its length.
            if data[position + mark] in b"XIV" and self._info(position):
                break
            position += size
            count += 1
        if count:
            self.frames += count
            self.spans.append((start, position))
        return position

    def _synchronise(self, start: int) -> int:
        """Looks for frames; returns their position, or the file's end."""
        position = start - 1
        while (position := self._data.find(b"\xff", position + 1)) >= 0:
            if position >= self._stop:
                break
            kind = self._kind_at(position)
            if not kind or not self._is_run(kind, position):
                continue
            if self.kind and kind != self.kind:
                raise AudioError(
                    f"joined: MPEG audio of one kind ({self.kind}) and then "
                    f"of another ({kind}); separate them"
                )
            self.kind = kind
            self.junk += position - start
            return position
        self.junk += self._stop - start
        return self._stop

    def _kind_at(self, position: int) -> Kind | None:
        header = self._data[position : position + 4]
        kind = frame_kind(header)
        if not kind or header[2] >> 4:
            return kind
        # The bit rate is free: the distance to the next frame is its size.
        if self.kind and self.kind.size(header):
            return self.kind
        other = position + 24
        stop = min(self._stop, position + _FRAME_BYTES)
        while (other := self._data.find(b"\xff", other + 1, stop)) >= 0:
            size = other - position - kind.padding(header[2])
            free_kind = dataclasses.replace(kind, free_bytes=size)
            if self._is_run(free_kind, position):
                return free_kind
        return None

    def _is_run(self, kind: Kind, position: int) -> bool:
        """Whether several frames of a kind follow each other."""
        needed = _RUN_FRAMES if kind == self.kind else _NEW_RUN_FRAMES
        for count in range(needed):
            size = kind.size(self._data[position : position + 4])
            if not size or position + size > self._stop:
                is_end = position == self._stop or self._tag_bytes(position)
                return bool(count and is_end)
            position += size
        return True
