"""Where the audio of a file is, and files put together from parts of others."""

import bisect
import dataclasses
import itertools
import os
from typing import BinaryIO

# Bytes, or the range [start, stop) of a file.
Piece = bytes | tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a file is handed to its decoder.

    Attributes:
      streams: the streams that are decoded one after another. The pieces of
        each make up a file for the decoder. Empty if the file is decoded as
        it is.
      av_format: FFmpeg's name of the container, if PyAV must decode it.
      mpeg_samples: length of MPEG audio in sample frames, otherwise None.
      is_file_enough: whether the content is known, and libsndfile decodes it
        from a local file as it is.
      notes: what is wrong with the file and has been dealt with.
    """

    streams: tuple[tuple[Piece, ...], ...] = ()
    av_format: str = ""
    mpeg_samples: int | None = None
    is_file_enough: bool = False
    notes: tuple[str, ...] = ()


def replace_bytes(size: int, changes: dict[int, bytes]) -> tuple[Piece, ...]:
    """The pieces of a file of `size` bytes with other bytes at some positions.

    Args:
      size: of the file.
      changes: the new bytes by their position.
    """
    pieces: list[Piece] = []
    position = 0
    for start, data in sorted(changes.items()):
        pieces += [(position, start), data]
        position = start + len(data)
    return (*pieces, (position, size))


class PiecedFile:
    """A file that consists of pieces; has the methods that decoders call."""

    def __init__(self, file: BinaryIO, pieces: tuple[Piece, ...]):
        self._file, self._pieces = file, pieces
        lengths = (
            len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]
            for piece in pieces
        )
        # Start of each piece within the new file, and the end of the last one.
        self._starts = [0, *itertools.accumulate(lengths)]
        self._position = 0

    def tell(self) -> int:
        """The position of the next read."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Sets the position, as for any file."""
        origins = {
            os.SEEK_SET: 0,
            os.SEEK_CUR: self._position,
            os.SEEK_END: self._starts[-1],
        }
        self._position = max(0, origins[whence] + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Reads up to `size` bytes; all that are left if it is negative."""
        left = max(0, self._starts[-1] - self._position)
        left = left if size < 0 else min(size, left)
        blocks = []
        while left:
            block = self._read_piece(left)
            if not block:
                break
            blocks.append(block)
            left -= len(block)
            self._position += len(block)
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def _read_piece(self, size: int) -> bytes:
        index = bisect.bisect_right(self._starts, self._position) - 1
        offset = self._position - self._starts[index]
        size = min(size, self._starts[index + 1] - self._position)
        piece = self._pieces[index]
        if isinstance(piece, bytes):
            return piece[offset : offset + size]
        self._file.seek(piece[0] + offset)
        return self._file.read(size)
