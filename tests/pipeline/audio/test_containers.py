import os
import re

import numpy as np
import pytest
import soundfile

from pipeline.audio import containers, reading
from pipeline.audio.errors import AudioError
from stftgan_tf.config import AudioConfig
from tests.conftest import noise
from tests.pipeline.audio.sounds import RATE, sine, write

CONFIG = AudioConfig(sample_rate_hz=RATE)


def write_half(path, **kwargs):
    """The first half of a sound file."""
    write(path, samples=noise(10 * RATE), **kwargs)
    os.truncate(path, path.stat().st_size // 2)


def write_flac_of_unknown_length(path):
    """A FLAC file such as an encoder writes into a pipe."""
    write(path)
    data = bytearray(path.read_bytes())
    # The last 36 bits of STREAMINFO before its MD5 (RFC 9639, section 8.2).
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)


def write_chained_ogg(path):
    """Two streams, one after the other (RFC 3533, section 4)."""
    streams = []
    for _ in range(2):
        write(path)
        streams.append(path.read_bytes())
    assert streams[0] != streams[1]
    path.write_bytes(b"".join(streams))


def write_with_header(path, position, new):
    """A WAV with 1000 bytes of data and different bytes in its header."""
    write(path, samples=noise(500))
    data = bytearray(path.read_bytes())
    data[position : position + len(new)] = new
    path.write_bytes(data)


def bytes_of(number):
    return number.to_bytes(4, "little")


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("a.wav", lambda p: p.write_bytes(b""), "empty: no bytes"),
        ("a.wav", write_half, "truncated: 79978 of 160000"),
        ("a.flac", write_half, "truncated|undecodable"),
        ("a.mp3", write_half, "truncated"),
        ("a.ogg", write_half, "truncated"),
        ("a.opus", write_half, "truncated"),
        ("a.aiff", write_half, "truncated"),
        ("a.au", write_half, "truncated"),
        ("a.w64", write_half, "truncated"),
        ("a.caf", write_half, "undecodable"),
        ("a.wav", lambda p: write_half(p, format="RF64"), "truncated: 799"),
        ("a.wav", lambda p: write_half(p, endian="BIG"), "truncated: 799"),
        ("a.wav", lambda p: write_half(p, format="NIST"), "truncated: 794"),
        ("a.flac", write_flac_of_unknown_length, "length: the header does not"),
        ("a.ogg", write_chained_ogg, "chained: several Ogg streams"),
        ("a.w64", lambda p: p.write_bytes(b"riff\x2e\x91"), "truncated"),
        ("a.au", lambda p: p.write_bytes(b".snd\0\0"), "truncated"),
        (
            "a.wav",
            lambda p: write_with_header(p, 40, bytes_of(4_000_000_000)),
            "truncated: 1000 of 4000000000 bytes",
        ),
    ],
)
def test_incomplete_file_is_rejected(tmp_path, name, make, reason):
    path = tmp_path / name
    make(path)
    with pytest.raises(AudioError, match=reason):
        reading.measure(str(path), CONFIG)


# sox writes the second one for 16 bits and the third one for 24 bits.
@pytest.mark.parametrize(
    "size", [0xFFFFFFFF, 0x7FFFF000, 0x7FFFEFFF, 0x80000000]
)
def test_streamed_wav_of_unknown_size_is_not_truncated(tmp_path, size):
    path = tmp_path / "a.wav"
    write(path, samples=sine(RATE))
    data = bytearray(path.read_bytes())
    position = data.index(b"data") + 4
    data[position : position + 4] = data[4:8] = bytes_of(size)
    path.write_bytes(data)
    assert reading.measure(str(path), CONFIG)[0].samples == RATE


@pytest.mark.parametrize(
    "kwargs", [{"format": "RF64"}, {"endian": "BIG"}, {"format": "NIST"}]
)
def test_complete_file_is_accepted(tmp_path, kwargs):
    path = tmp_path / "a.wav"
    write(path, **kwargs)
    with open(path, "rb") as file:
        containers.check_complete(file)
        assert file.tell() == 0
    assert reading.measure(str(path), CONFIG)[0].samples == RATE


def test_mpeg_frame_sizes():
    # MPEG 1, 128 kbit/s, 44.1 kHz: 144 * 128000 / 44100 bytes; then with
    # padding; MPEG 2, 64 kbit/s, 22.05 kHz; MPEG 2.5, 8 kbit/s, 8 kHz.
    assert containers.mpeg_frame(b"\xff\xfb\x90\0") == (128, 417)
    assert containers.mpeg_frame(b"\xff\xfb\x92\0") == (128, 418)
    assert containers.mpeg_frame(b"\xff\xf3\x80\0") == (64, 208)
    assert containers.mpeg_frame(b"\xff\xe3\x18\0") == (8, 72)
    # Reserved version, bit rate, and sample rate; too short.
    for header in (b"\xff\xeb\x90\0", b"\xff\xfb\xf0\0", b"\xff\xfb\x9c\0"):
        assert containers.mpeg_frame(header) is None
    assert containers.mpeg_frame(b"\xff\xfb\x90") is None


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
@pytest.mark.parametrize("tag", [b"", b"ID3\4\0\0\0\0\1\0" + bytes(128)])
def test_mp3_without_a_length(tmp_path, rate, tag):
    """LAME's first frame contains the length; the test also removes it."""
    path = tmp_path / "a.mp3"
    samples = np.concatenate([noise(rate), np.zeros(rate)])
    for mode in ("CONSTANT", "VARIABLE"):
        soundfile.write(
            path, samples, rate, bitrate_mode=mode, compression_level=0.5
        )
        data = path.read_bytes()
        assert re.search(b"Xing|Info", data[:64])
        _, first_frame = containers.mpeg_frame(data[:4])
        path.write_bytes(tag + data)
        assert reading.measure(str(path), CONFIG)[0].samples == 2 * RATE
        path.write_bytes(tag + data[first_frame:])
        if mode == "VARIABLE":
            with pytest.raises(
                AudioError, match="MP3 with a variable bit rate"
            ):
                reading.measure(str(path), CONFIG)
            continue
        # The length is an estimate, at most one MPEG frame too large.
        (stats,) = reading.measure(str(path), CONFIG)
        assert stats.samples > 2 * RATE
        whole = reading.load(str(path), CONFIG, 0)[1]
        end = reading.read(
            str(path),
            CONFIG,
            stats.samples - 99,
            stats.samples,
            source_frames=stats.source_frames,
        )
        np.testing.assert_allclose(end, whole[-99:], atol=1e-3)
