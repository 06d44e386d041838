"""Headers of streams, and files cut in transfer."""

import os

import numpy as np
import pytest

from pipeline.audio import opening
from pipeline.audio.containers import uncompressed
from pipeline.audio.errors import AudioError
from stftgan_tf.config import AudioConfig
from tests.conftest import noise
from tests.pipeline.audio.sounds import (
    RATE,
    decode,
    encode,
    encode_with_av,
    needs_av,
    sine,
)

SAMPLES = 4000

# By format: the bytes before the field of the data size, its width and byte
# order, and how many bytes it counts besides the samples.
FIELDS = {
    "WAV": (b"data", 4, "little", 0),
    "RIFX": (b"data", 4, "big", 0),
    "AIFF": (b"SSND", 4, "big", 8),
    "AU": (b".snd\0\0\0\x18", 4, "big", 0),
    "W64": (bytes.fromhex("64617461f3acd3118cd100c04f8edb8a"), 8, "little", 24),
    "CAF": (b"data", 8, "big", 4),
    "RF64": (b"ds64\x1c\0\0\0" + bytes(8), 8, "little", 0),
}


def sound_file(kind, subtype="PCM_16", samples=SAMPLES):
    endian = "BIG" if kind == "RIFX" else "FILE"
    name = "WAV" if kind == "RIFX" else kind
    return encode(noise(samples), name, subtype, endian=endian)


def with_size(kind, size, subtype="PCM_16"):
    """A sound file that declares a size, a function of the true one."""
    data = bytearray(sound_file(kind, subtype))
    before, width, order, extra = FIELDS[kind]
    if kind == "RF64":
        data[20:28] = bytes(8)
        before = bytes(data[12:28])
    position = data.index(before) + len(before)
    field = slice(position, position + width)
    declared = size(2 * SAMPLES + extra)
    data[field] = (declared % (1 << 8 * width)).to_bytes(width, order)
    return data


@pytest.mark.parametrize("kind", FIELDS)
@pytest.mark.parametrize(
    ("size", "note"),
    [
        (lambda true: true, ()),
        (lambda true: 0, (uncompressed.STREAM_NOTE,)),
        (lambda true: -1, (uncompressed.STREAM_NOTE,)),
        (lambda true: -37, (uncompressed.STREAM_NOTE,)),
        (lambda true: true + 36, (uncompressed.EXCESS_NOTE,)),
        (lambda true: true + 100, (uncompressed.EXCESS_NOTE,)),
    ],
)
def test_audio_of_a_stream_is_used(tmp_path, kind, size, note):
    path = tmp_path / "a"
    path.write_bytes(with_size(kind, size))
    decoded = decode(path)
    path.write_bytes(sound_file(kind))
    np.testing.assert_array_equal(decoded.samples, decode(path).samples)
    assert len(decoded.samples) == SAMPLES
    assert decoded.notes == note


@pytest.mark.parametrize(
    "size",
    [
        2_000_000_000,
        0x7FFFFFFF,
        0x80000000,
        # sox for 16 and 24 bits, GStreamer, sizes that include the header.
        *(0x7FFFF000, 0x7FFFEFFF, 0x7FFF0000, 0x7FFFFFDB, 0xFFFFFFDB),
    ],
)
def test_placeholders_of_wav_writers(tmp_path, size):
    path = tmp_path / "a.wav"
    path.write_bytes(with_size("WAV", lambda _: size))
    decoded = decode(path)
    assert len(decoded.samples) == SAMPLES
    assert decoded.notes == (uncompressed.STREAM_NOTE,)


@pytest.mark.parametrize("kind", FIELDS)
def test_file_cut_in_transfer_is_rejected(tmp_path, kind):
    path = tmp_path / "a"
    # Some containers begin with 4 kB of padding.
    data = sound_file(kind)
    for share in (0.6, 0.9):
        path.write_bytes(data[: len(data) - int((1 - share) * 2 * SAMPLES)])
        with pytest.raises(AudioError, match="truncated: .* bytes of data"):
            decode(path)


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "AU", "W64"])
def test_empty_file_is_no_stream(tmp_path, kind):
    path = tmp_path / "a"
    tail = b"LIST\4\0\0\0INFO" if kind == "WAV" else b""
    path.write_bytes(sound_file(kind, samples=0) + tail)
    decoded = decode(path)
    assert not len(decoded.samples) and not decoded.notes


def test_bytes_after_the_data(tmp_path):
    path = tmp_path / "a.wav"
    data = sound_file("WAV")
    path.write_bytes(data + b"LIST\4\0\0\0INFO" + b"junk\0\0\4\0" + bytes(1024))
    assert decode(path).notes == ()
    path.write_bytes(data + bytes(1000))
    assert decode(path).notes == (uncompressed.TAIL_NOTE,)
    path.write_bytes(data + data)
    with pytest.raises(AudioError, match="joined: another WAV follows"):
        decode(path)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_chunks_after_a_stream_are_not_samples(tmp_path, size):
    path = tmp_path / "a.wav"
    title = b"LIST\x14\0\0\0INFOINAM\x08\0\0\0a title\0"
    path.write_bytes(with_size("WAV", lambda _: size) + title)
    decoded = decode(path)
    assert decoded.notes == (uncompressed.STREAM_NOTE,)
    assert len(decoded.samples) == SAMPLES


@needs_av
def test_caf_with_a_codec_that_libsndfile_lacks(tmp_path):
    path = tmp_path / "a.caf"
    path.write_bytes(encode_with_av(sine(RATE), ".caf", "adpcm_ima_qt"))
    samples = decode(path).samples[:, 0]
    # Packets of 64 samples.
    assert RATE <= len(samples) < RATE + 64
    np.testing.assert_allclose(samples[100:RATE], sine(RATE)[100:], atol=0.05)


@pytest.mark.parametrize("declared", [1000, 0xFFFFFFFF, 0x7FFFF000])
def test_wav_of_more_than_4_gb(tmp_path, declared):
    """The size in the header is a placeholder, or has lost its upper bits."""
    path = tmp_path / "a.wav"
    path.write_bytes(with_size("WAV", lambda _: declared))
    # A sparse file, which takes no space: 2^32 + 1000 bytes of data.
    os.truncate(path, 44 + (1 << 32) + 1000)
    with open(path, "r+b") as file:
        file.seek(-1000, os.SEEK_END)
        file.write(b"\1\2" * 500)
    config = AudioConfig(sample_rate_hz=RATE)
    with opening.open_recording(str(path), config) as decoder:
        assert decoder.frames == (1 << 31) + 500
        assert decoder.notes == (uncompressed.OVERFLOW_NOTE,)
        end = decoder.read((1 << 31) - 500, 2000)[:, 0]
    expected = np.repeat([0.0, 0x0201 / 32768], [500, 500])
    np.testing.assert_allclose(end, expected)


def test_bw64_is_rf64(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"BW64" + sound_file("RF64")[4:])
    assert len(decode(path).samples) == SAMPLES


@pytest.mark.parametrize("subtype", ["GSM610", "IMA_ADPCM", "G721_32"])
def test_stream_of_a_coded_wav(tmp_path, subtype):
    path = tmp_path / "a.wav"
    path.write_bytes(with_size("WAV", lambda _: -1, subtype))
    samples = decode(path).samples
    path.write_bytes(sound_file("WAV", subtype))
    np.testing.assert_array_equal(samples, decode(path).samples)
