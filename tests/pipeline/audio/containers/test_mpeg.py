"""MP3s without a length, with a wrong one, with tags, and joined ones."""

import io
import struct

import numpy as np
import pytest

from pipeline.audio import opening, reading
from pipeline.audio.containers import mpeg
from pipeline.audio.containers.mpeg_frames import frame_kind
from pipeline.audio.errors import AudioError
from stftgan_tf.config import AudioConfig
from tests.conftest import noise
from tests.pipeline.audio.sounds import (
    decode,
    decode_part,
    encode,
    encode_with_av,
    needs_av,
)

# mpg123 removes its own delay, and LAME's padding if the header gives it.
DELAY = 529


def mp3(rate=22050, secs=2.0, channels=1, mode="CONSTANT", level=0.5):
    """Bytes of an MP3 whose first frame gives its length."""
    samples = np.repeat(noise(int(rate * secs))[:, None], channels, axis=1)
    # Silence needs few bits, which makes the bit rate vary.
    samples[len(samples) // 2 :] *= 1e-3
    options = {"bitrate_mode": mode, "compression_level": level}
    return encode(samples, "MP3", rate=rate, **options)


def frames_of(data):
    """The frames of MPEG audio, by walking from one to the next."""
    kind, position, frames = frame_kind(data[:4]), 0, []
    while position < len(data):
        size = kind.size(data[position : position + 4])
        frames.append(data[position : position + size])
        position += size
    assert position == len(data)
    return frames


def without_length(data):
    """The audio without its first frame, which gives the length."""
    return b"".join(frames_of(data)[1:])


def insert(audio, count, junk):
    """Audio with other bytes after a number of frames."""
    frames = frames_of(audio)
    return b"".join([*frames[:count], junk, *frames[count:]])


def id3(size, flags=0):
    """An ID3v2.4 tag of random bytes, among which are sync words."""
    digits = bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    content = np.random.default_rng(size).bytes(size)
    footer = b"3DI\4\0" + bytes([flags]) + digits if flags & 16 else b""
    return b"ID3\4\0" + bytes([flags]) + digits + content + footer


def ape(size, has_header=True):
    def part(flags):
        numbers = struct.pack("<IIII", 2000, size + 32, 1, flags)
        return b"APETAGEX" + numbers + bytes(8)

    content = np.random.default_rng(size).bytes(size)
    if not has_header:
        return content + part(0)
    return part(0xA0000000) + content + part(0x80000000)


ID3V1 = b"TAG" + bytes(125)
LYRICS = b"LYRICSBEGININD0000210INF00010some words"
LYRICS += b"%06dLYRICS200" % len(LYRICS)
OLD_LYRICS = b"LYRICSBEGIN" + b"some words" * 9 + b"LYRICSEND"


def test_frame_headers():
    # MPEG 1, 128 kbit/s, 44.1 kHz: 144 * 128000 / 44100 bytes; then with
    # padding; MPEG 2, 64 kbit/s, 22.05 kHz; MPEG 2.5, 8 kbit/s, 8 kHz.
    sizes = {
        b"\xff\xfb\x90\0": (417, 44100),
        b"\xff\xfb\x92\0": (418, 44100),
        b"\xff\xf3\x80\0": (208, 22050),
        b"\xff\xe3\x18\0": (72, 8000),
        # Layer II, 192 kbit/s, 48 kHz; layer I, 384 kbit/s, 44.1 kHz, padded.
        b"\xff\xfd\xa4\0": (576, 48000),
        b"\xff\xff\xc2\0": (420, 44100),
    }
    for header, (size, rate_hz) in sizes.items():
        kind = frame_kind(header)
        assert (kind.size(header), kind.rate_hz) == (size, rate_hz)
        assert not kind.size(header[:3])
    # Reserved version, layer, bit rate and sample rate; too short.
    headers = (b"\xff\xeb\x90\0", b"\xff\xf9\x90\0", b"\xff\xfb\xf0\0")
    for header in (*headers, b"\xff\xfb\x9c\0", b"\xff\xfb\x90"):
        assert frame_kind(header) is None


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("channels", [1, 2])
def test_length_is_the_number_of_frames(tmp_path, rate, mode, channels):
    path = tmp_path / "a.mp3"
    data = mp3(rate, 1.0, channels, mode)
    path.write_bytes(data)
    whole = decode(path)
    assert len(whole.samples) == rate
    data = without_length(data)
    path.write_bytes(data)
    decoded = decode(path)
    samples = len(frames_of(data)) * frame_kind(data[:4]).samples
    assert len(decoded.samples) == samples - DELAY
    assert decoded.notes == whole.notes == ()


# Where tags are in a file; none of them is audio.
TAGGED = {
    "ID3v2": lambda audio: id3(30_000) + audio,
    "ID3v2 with a footer": lambda audio: id3(300, 16) + audio,
    "several ID3v2": lambda audio: id3(300) + id3(9000) + id3(20) + audio,
    "ID3v1": lambda audio: audio + ID3V1,
    "APE": lambda audio: audio + ape(3000) + ID3V1,
    "APE first": lambda audio: ape(3000) + audio,
    "old APE": lambda audio: audio + ape(3000, has_header=False),
    "Lyrics3": lambda audio: audio + LYRICS + ID3V1,
    "old Lyrics3": lambda audio: id3(99) + audio + OLD_LYRICS + ID3V1,
}


@pytest.mark.parametrize("name", TAGGED)
def test_tags_do_not_count(tmp_path, name):
    path = tmp_path / "a.mp3"
    audio = without_length(mp3())
    path.write_bytes(audio)
    samples = decode(path).samples
    path.write_bytes(TAGGED[name](audio))
    decoded = decode(path)
    np.testing.assert_array_equal(decoded.samples, samples)
    assert not decoded.notes
    part = decode_part(path, 30_000, 1000)
    np.testing.assert_allclose(part, samples[30_000:31_000], atol=1e-4)


@pytest.mark.parametrize(
    "damage",
    [
        lambda audio: np.random.default_rng(0).bytes(5000) + audio,
        lambda audio: bytes(3000) + audio,
        lambda audio: audio + bytes(3000),
        lambda audio: insert(audio, 10, b"not a frame"),
    ],
)
def test_other_bytes_are_left_out_and_noted(tmp_path, damage):
    path = tmp_path / "a.mp3"
    audio = without_length(mp3())
    path.write_bytes(audio)
    samples = decode(path).samples
    path.write_bytes(damage(audio))
    decoded = decode(path)
    np.testing.assert_array_equal(decoded.samples, samples)
    assert decoded.notes == (mpeg.JUNK_NOTE,)


@pytest.mark.parametrize("between", [b"", ID3V1 + id3(999), ape(500) + ID3V1])
@pytest.mark.parametrize("has_length", [True, False])
def test_joined_mp3s_are_decoded_to_their_end(tmp_path, between, has_length):
    path = tmp_path / "a.mp3"
    parts = [mp3(secs=1.0), mp3(secs=2.0, mode="VARIABLE"), mp3(secs=1.5)]
    if not has_length:
        parts = [without_length(part) for part in parts]
    path.write_bytes(between.join(parts))
    decoded = decode(path)
    # LAME adds up to 1.5 frames to each.
    secs = len(decoded.samples) / 22050
    assert 4.5 <= secs < 4.5 + 3 * 3 * 576 / 22050
    assert not decoded.notes
    # The third part is loud for the first half of it.
    levels = np.abs(decoded.samples).reshape(-1)[-33_000:].reshape(2, -1)
    assert levels[0].mean() > 100 * levels[1, -8000:].mean()


@pytest.mark.parametrize("other", [{"rate": 44100}, {"channels": 2}])
def test_joined_mp3s_of_different_kinds_are_rejected(tmp_path, other):
    (tmp_path / "a.mp3").write_bytes(mp3() + id3(50) + mp3(**other))
    with pytest.raises(AudioError, match="joined: MPEG .* 22050 Hz, mono. and"):
        decode(tmp_path / "a.mp3")


@pytest.mark.parametrize("factor", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_wrong_number_of_frames_in_the_header(tmp_path, mode, factor):
    path = tmp_path / "a.mp3"
    data = bytearray(mp3(mode=mode))
    path.write_bytes(data)
    samples = decode(path).samples
    field = slice(21, 25)
    assert data[13:17] in (b"Xing", b"Info")
    frames = int(struct.unpack(">I", data[field])[0] * factor)
    data[field] = struct.pack(">I", frames)
    path.write_bytes(data)
    decoded = decode(path)
    np.testing.assert_array_equal(decoded.samples, samples)
    assert decoded.notes == ((mpeg.COUNT_NOTE,) if frames else ())


def test_vbri_header_is_checked(tmp_path):
    path = tmp_path / "a.mp3"
    audio = without_length(mp3())
    frames = len(frames_of(audio))
    for declared in (frames, frames // 2):
        numbers = struct.pack(">HHHII", 1, 0, 0, len(audio) + 522, declared)
        head = b"\xff\xf3\xe0\xc4" + bytes(32) + b"VBRI" + numbers
        path.write_bytes(head.ljust(522, b"\0") + audio)
        decoded = decode(path)
        assert len(decoded.samples) == frames * 576 - DELAY
        is_right = declared == frames
        assert decoded.notes == (() if is_right else (mpeg.COUNT_NOTE,))


@pytest.mark.parametrize("cut", [1, 100, 20_000])
@pytest.mark.parametrize("has_length", [True, False])
def test_mp3_cut_in_transfer_is_rejected(tmp_path, cut, has_length):
    data = mp3(secs=4.0)
    data = data if has_length else without_length(data)
    (tmp_path / "a.mp3").write_bytes(data[:-cut])
    with pytest.raises(AudioError, match="truncated: .* MPEG frame"):
        decode(tmp_path / "a.mp3")


def test_mp3_whose_last_whole_frames_are_missing(tmp_path):
    frames = frames_of(mp3(secs=4.0))
    (tmp_path / "a.mp3").write_bytes(b"".join(frames[:100]))
    with pytest.raises(AudioError, match="truncated: 99 of 156 MPEG frames"):
        decode(tmp_path / "a.mp3")


def test_free_bit_rate(tmp_path):
    """Frames of 100 kbit/s, which no index stands for: only their distance."""
    path = tmp_path / "a.mp3"
    audio = without_length(mp3(44100, level=0.5))
    frames = [bytearray(frame) for frame in frames_of(audio)]
    longest = max(len(frame) for frame in frames)
    for frame in frames:
        frame[2] &= 0x0D
        frame += bytes(longest - len(frame))
    path.write_bytes(b"".join(frames))
    decoded = decode(path)
    assert len(decoded.samples) == len(frames) * 1152 - DELAY


@pytest.mark.parametrize("has_length", [True, False])
def test_mp3_in_a_wav(tmp_path, has_length):
    path = tmp_path / "a.wav"
    data = mp3() if has_length else without_length(mp3())
    (tmp_path / "a.mp3").write_bytes(data)
    fields = (0x55, 1, 22050, 8000, 1, 0, 12, 1, 2, 209, 1, 1393)
    form = struct.pack("<HHIIHHHHIHHH", *fields)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form
    chunks += b"data" + struct.pack("<I", len(data)) + data
    size = struct.pack("<I", len(chunks) + 4)
    path.write_bytes(b"RIFF" + size + b"WAVE" + chunks)
    samples = decode(tmp_path / "a.mp3").samples
    np.testing.assert_array_equal(decode(path).samples, samples)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(AudioError, match="truncated"):
        decode(path)


@needs_av
@pytest.mark.parametrize("rate", [16000, 44100])
def test_layer_two(tmp_path, rate):
    path = tmp_path / "a.mp2"
    data = encode_with_av(noise(3 * rate), ".mp2", "mp2", rate)
    for tags, copies in ((b"", 1), (id3(30_000), 1), (b"", 2)):
        path.write_bytes(tags + data * copies + ID3V1)
        samples = decode(path).samples
        assert len(samples) == copies * len(frames_of(data)) * 1152


def test_mp3_from_an_open_file(tmp_path, monkeypatch):
    """As for remote files and records: libsndfile sees no name."""
    data = mp3()
    (tmp_path / "a.mp3").write_bytes(data)
    monkeypatch.setattr(
        opening.storage, "open_input", lambda _: io.BytesIO(data)
    )
    config = AudioConfig(sample_rate_hz=22050)
    samples = reading.read("s3://bucket/a.mp3", config, 0, 44100)
    local = decode(tmp_path / "a.mp3").samples[:, 0]
    np.testing.assert_allclose(samples, local, atol=1e-6)
