"""Writes all samples as one WAV, without collecting them first."""

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

from stftgan_tf.errors import UsageError

_BYTES_PER_SAMPLE = 2
_HEADER_BYTES = 44
# A WAV counts its bytes, except the first 8, in 32 bits.
_MAX_BYTES = 2**32 - 1 - (_HEADER_BYTES - 8)


def check_size(num_samples: int) -> None:
    """Raises UsageError if one WAV cannot contain this many samples."""
    size = _BYTES_PER_SAMPLE * num_samples
    if size > _MAX_BYTES:
        raise UsageError(
            f"the samples need {size} bytes; a WAV contains at most "
            f"{_MAX_BYTES}, so choose a smaller --num"
        )


def write(
    file: BinaryIO,
    batches: Iterator[dict[str, Any]],
    num_samples: int,
    rate_hz: int,
) -> None:
    """Writes the WAV files of batches as one.

    Args:
      file: the output.
      batches: with `wav_bytes`, each with a 44-byte header and 16 bits per
        sample.
      num_samples: of all batches together.
      rate_hz: the sample rate.
    """
    size = _BYTES_PER_SAMPLE * num_samples
    # RIFF: format 1 (PCM), one channel, 16 bits.
    file.write(
        struct.pack(
            "<4sI4s4sIHHIIHH4sI",
            b"RIFF",
            size + _HEADER_BYTES - 8,
            b"WAVE",
            b"fmt ",
            16,
            1,
            1,
            rate_hz,
            _BYTES_PER_SAMPLE * rate_hz,
            _BYTES_PER_SAMPLE,
            8 * _BYTES_PER_SAMPLE,
            b"data",
            size,
        )
    )
    for batch in batches:
        for wav in batch["wav_bytes"]:
            file.write(wav[_HEADER_BYTES:])
    file.flush()
