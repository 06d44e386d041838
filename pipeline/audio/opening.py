"""Opens recordings with the decoder that suits them."""

import contextlib
import functools
import io
import os
import re
import stat
from collections.abc import Iterator
from typing import Any, BinaryIO

import soundfile

from pipeline import storage
from pipeline.audio import missing, tfds_records
from pipeline.audio.containers import inspection
from pipeline.audio.containers.layout import Layout, PiecedFile
from pipeline.audio.decoders.base import (
    ArrayDecoder,
    ChainDecoder,
    Decoder,
    Excerpt,
    ExcerptDecoder,
)
from pipeline.audio.decoders.pyav import AvDecoder
from pipeline.audio.decoders.sndfile import SndfileDecoder, keep_errors
from pipeline.audio.decoders.tfio import TfioDecoder
from pipeline.audio.errors import AudioError
from pipeline.audio.samples import as_float
from stftgan_tf.config import AudioConfig
from stftgan_tf.errors import first_line

# Plausible sample rates; a header with a rate outside this range is damaged.
_RATES_HZ = (1000, 768000)

# libsndfile reports a huge length if the header does not give one.
_UNKNOWN_FRAMES = 1 << 62

# Maximum number of samples that an encoder of MP3 adds at the ends, which are
# removed (LAME stores two numbers of 12 bits).
_MP3_PADDING_SAMPLES = 2 * 4095


@contextlib.contextmanager
def open_recording(
    source: str | Excerpt, config: AudioConfig
) -> Iterator[Decoder]:
    """Opens a recording with the configured decoder.

    Args:
      source: path of a local file, a remote one (`s3://...`) or a record of a
        TFDS data set (`tfds_records`); or an excerpt of one.
      config: names the decoder.

    Raises:
      AudioError: if the recording does not exist or cannot be decoded.
    """
    excerpt = source if isinstance(source, Excerpt) else Excerpt(source)
    with contextlib.ExitStack() as stack:
        try:
            decoder = _open(excerpt.path, config, stack)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"undecodable: {_reason(error)}") from error
        except OSError as error:
            reason = error.strerror or first_line(error)
            raise AudioError(f"unreadable: {reason}") from error
        low, high = _RATES_HZ
        if not low <= decoder.rate_hz <= high:
            raise AudioError(
                f"rate: {decoder.rate_hz} Hz; expected {low} to {high}"
            )
        if decoder.frames >= _UNKNOWN_FRAMES:
            raise AudioError(
                "length: the header does not give the length; encode the "
                "recording again, into a file instead of a pipe"
            )
        if excerpt != Excerpt(excerpt.path):
            decoder = ExcerptDecoder(decoder, excerpt)
        yield decoder


def check_decoder(config: AudioConfig) -> None:
    """Checks that the configured decoder works on this machine.

    tensorflow-io can be imported even if its ops cannot be loaded, so this
    calls one of them.

    Raises:
      AudioError: if the decoder does not work.
    """
    if config.decoder != "tfio":
        return
    try:
        import tensorflow as tf
        import tensorflow_io as tfio

        wav = tf.audio.encode_wav(tf.zeros([1, 1]), 8000)
        tfio.audio.decode_wav(wav, dtype=tf.int16)
    except (ImportError, NotImplementedError) as error:
        raise AudioError(
            "audio.decoder is tfio, but tensorflow-io does not work here "
            f"({first_line(error)}); its ops load on TensorFlow 2.16 only: "
            "pip install '.[io]', or choose sndfile"
        ) from error


def _open(
    path: str, config: AudioConfig, stack: contextlib.ExitStack
) -> Decoder:
    """Opens a recording; `stack` closes it."""
    if tfds_records.is_record_path(path):
        record = tfds_records.read_record(path)
        if record.encoded is None:
            return ArrayDecoder(as_float(record.samples), record.rate_hz)
        encoded = io.BytesIO(record.encoded)
        return _open_layout(encoded, inspection.inspect(encoded), stack)
    if storage.is_remote(path):
        file = stack.enter_context(storage.open_input(path))
        layout = inspection.inspect(file)
        return _open_layout(
            stack.enter_context(keep_errors(file)), layout, stack
        )
    status = _check_regular_file(path)
    layout = _local_layout(path, status.st_size, status.st_mtime_ns)
    # tensorflow-io would decode the first stream of several, for example.
    is_whole = layout.is_file_enough or not layout.streams
    if config.decoder == "tfio" and is_whole:
        return TfioDecoder(path)
    return _open_layout(path, layout, stack)


# The segments of a long recording are opened one by one.
@functools.lru_cache(256)
def _local_layout(path: str, size: int, mtime_ns: int) -> Layout:
    """The layout of a local file, which its size and time tell apart."""
    with open(path, "rb") as file:
        return inspection.inspect(file)


def _check_regular_file(path: str) -> os.stat_result:
    """The status of a regular file."""
    try:
        status = os.stat(path)
    # ValueError: an invalid path, such as one with a null byte.
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        place = missing.explain(path)
        raise AudioError(f"missing: no such file: {place}") from error
    if stat.S_ISDIR(status.st_mode):
        # Raises PermissionError, a better reason, if it is unreadable.
        os.scandir(path).close()
    # Reading a FIFO or a device could block forever.
    if not stat.S_ISREG(status.st_mode):
        raise AudioError("not a regular file")
    return status


def _open_layout(
    source: str | BinaryIO, layout: Layout, stack: contextlib.ExitStack
) -> Decoder:
    """Opens a file.

    Args:
      source: the path of a local file, or an open file.
      layout: its layout.
      stack: closes it.
    """
    is_local = isinstance(source, str)
    if is_local and layout.is_file_enough:
        # As bytes, because a file name is not always valid UTF-8.
        decoder = SndfileDecoder(os.fsencode(source), layout.notes)
        return _checked(_closing(decoder, stack), layout)
    file = stack.enter_context(open(source, "rb")) if is_local else source
    if layout.av_format:
        decoder = AvDecoder(file, layout.av_format, layout.notes)
        return _closing(decoder, stack)
    if not layout.streams:
        return _open_whole(file, is_local, layout, stack)
    decoders = [
        _closing(SndfileDecoder(PiecedFile(file, pieces), layout.notes), stack)
        for pieces in layout.streams
    ]
    if len(decoders) > 1:
        return ChainDecoder(decoders)
    return _checked(decoders[0], layout)


def _open_whole(
    file: BinaryIO, is_local: bool, layout: Layout, stack: contextlib.ExitStack
) -> Decoder:
    """Opens a file of which nothing is known, or one that is not local."""
    # By its name, libsndfile would take a file of unknown content with an
    # extension like .au for samples without a header.
    source = file.fileno() if is_local else file
    try:
        return _closing(SndfileDecoder(source, layout.notes), stack)
    except soundfile.LibsndfileError:
        # MPEG audio may follow other bytes.
        mpeg_layout = inspection.find_mpeg(file)
        if not mpeg_layout:
            inspection.check_content(file)
            raise
    return _open_layout(file, mpeg_layout, stack)


def _reason(error: soundfile.LibsndfileError) -> str:
    """Why libsndfile does not open a file."""
    reason = error.error_string
    # The last format that libsndfile tries has its header in another file.
    if re.search("not recognised|resource fork|bad (data|map) ", reason):
        return "the format is not known"
    return reason


def _closing(decoder: Any, stack: contextlib.ExitStack) -> Any:
    return stack.enter_context(contextlib.closing(decoder))


def _checked(decoder: SndfileDecoder, layout: Layout) -> SndfileDecoder:
    """Checks the length of MPEG audio, which libsndfile may estimate."""
    expected = layout.mpeg_samples
    if expected is None:
        return decoder
    if decoder.frames < expected - _MP3_PADDING_SAMPLES:
        raise AudioError(
            f"length: libsndfile finds {decoder.frames} samples in MPEG frames "
            f"of {expected}; encode the recording again"
        )
    # Layers I and II have no header that gives the length.
    decoder.frames = min(decoder.frames, expected)
    return decoder
