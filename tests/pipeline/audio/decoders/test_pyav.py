"""Formats that libsndfile does not read."""

import builtins

import numpy as np
import pytest
import soundfile

from pipeline.audio.containers import formats
from pipeline.audio.decoders import pyav
from pipeline.audio.errors import AudioError
from tests.conftest import CASES, SPEECH, needs_cases, needs_speech
from tests.pipeline.audio.sounds import (
    RATE,
    decode,
    decode_part,
    encode_with_av,
    needs_av,
    sine,
    stream_with_av,
)

pytestmark = needs_av

# Extension, codec, sample rate, and how far the decoded signal may differ.
FILES = [
    (".m4a", "aac", 16000, 0.1),
    (".m4a", "aac", 44100, 0.1),
    (".m4a", "alac", 16000, 1e-4),
    (".mp4", "libopus", 48000, 0.1),
    (".mp4", "libmp3lame", 22050, 0.1),
    (".mov", "pcm_s16le", 8000, 1e-4),
    (".webm", "libopus", 48000, 0.1),
    (".mka", "flac", 16000, 1e-4),
    (".ogg", "flac", 16000, 1e-4),
    # PyAV writes these with 8 bits.
    (".wv", "wavpack", 16000, 0.01),
    (".tta", "tta", 16000, 0.01),
]


def chirp(rate, secs=1.0):
    """A signal that matches itself at no other position."""
    return sine(rate, secs, 300 + 200 * np.arange(int(rate * secs)) / rate)


def lag(samples, original):
    """By how many samples a signal is late."""
    size = 2 * max(len(samples), len(original))
    spectra = np.fft.rfft(samples, size), np.fft.rfft(original, size)
    correlation = np.fft.irfft(spectra[0] * np.conj(spectra[1]), size)
    position = int(np.argmax(correlation))
    return position if position < size // 2 else position - size


@pytest.mark.parametrize(("extension", "codec", "rate", "tolerance"), FILES)
def test_length_and_position_are_those_of_the_original(
    tmp_path, extension, codec, rate, tolerance
):
    path, original = tmp_path / f"a{extension}", chirp(rate)
    path.write_bytes(encode_with_av(original, extension, codec, rate))
    decoded = decode(path)
    assert decoded.rate_hz == rate and not decoded.notes
    # Containers store the end of MP3 and Opus in milliseconds.
    assert len(decoded.samples) == pytest.approx(rate, abs=rate * 1e-3)
    stop = min(rate, len(decoded.samples)) - rate // 10
    np.testing.assert_allclose(
        decoded.samples[rate // 10 : stop, 0],
        original[rate // 10 : stop],
        atol=tolerance,
    )


@pytest.mark.parametrize(
    ("extension", "codec", "rate", "delay", "padding"),
    [
        # Two formats that give neither the delay of the encoder nor the end.
        (".aac", "aac", 16000, 1024, 2048),
        (".mka", "aac", 16000, 0, 1024),
        # FFmpeg removes 10 samples too many.
        (".3gp", "libopencore_amrnb", 8000, 0, 0),
    ],
)
def test_formats_without_an_exact_length(
    tmp_path, extension, codec, rate, delay, padding
):
    path, original = tmp_path / f"a{extension}", chirp(rate)
    path.write_bytes(encode_with_av(original, extension, codec, rate))
    samples = decode(path).samples[:, 0]
    assert rate <= len(samples) <= rate + padding
    assert lag(samples, original) == pytest.approx(delay, abs=15)


@needs_cases
@needs_speech
@pytest.mark.parametrize(
    "path", sorted(CASES.glob("other_extensions/*.[mw][4em][ab]*")), ids=str
)
def test_speech_of_phones_and_browsers(path):
    name = f"fsdd/recordings/{path.stem}.wav"
    original, rate = soundfile.read(SPEECH / name, dtype="float32")
    decoded = decode(path)
    samples = decoded.samples[:, 0][:: decoded.rate_hz // rate]
    # The encoder of WMA has padded the last of its frames of 64 ms.
    padding = 512 if path.suffix == ".wma" else 1
    assert len(original) <= len(samples) <= len(original) + padding
    assert abs(lag(samples, original)) <= 1


@pytest.mark.parametrize(
    ("extension", "codec", "rate"),
    [
        (".m4a", "aac", 16000),
        (".webm", "libopus", 48000),
        (".mka", "flac", 16000),
        (".mka", "libmp3lame", 22050),
        (".wv", "wavpack", 16000),
    ],
)
def test_parts_of_a_long_recording(
    tmp_path, monkeypatch, extension, codec, rate
):
    path = tmp_path / f"a{extension}"
    path.write_bytes(encode_with_av(chirp(rate, 9.0), extension, codec, rate))
    whole = decode(path).samples
    # Longer recordings are not kept in memory.
    monkeypatch.setattr(pyav, "KEPT_SAMPLES", 0)
    np.testing.assert_array_equal(decode(path).samples, whole)
    for start, count in ((7 * rate + 11, rate), (100, 50), (8 * rate, rate)):
        part = decode_part(path, start, count)
        expected = whole[start : start + count]
        np.testing.assert_allclose(part, expected, atol=2e-3)


def test_channels_stay_apart(tmp_path):
    import av

    path = tmp_path / "a.m4a"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("alac", rate=RATE, layout="stereo")
        samples = np.stack([sine(RATE), 0.5 * sine(RATE, hz=700.0)])
        samples = np.int16(samples * 32767)
        frame = av.AudioFrame.from_ndarray(samples, "s16p", "stereo")
        frame.sample_rate, frame.pts = RATE, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    decoded = decode(path).samples
    np.testing.assert_allclose(decoded, samples.T / 32768, atol=1e-4)


@pytest.mark.parametrize(
    ("extension", "codec", "share"),
    [
        (".m4a", "aac", 0.5),
        (".webm", "libopus", 0.6),
        (".wv", "wavpack", 0.6),
        (".mka", "flac", 0.5),
    ],
)
def test_file_cut_in_transfer_is_rejected(tmp_path, extension, codec, share):
    rate = 48000 if codec == "libopus" else 16000
    data = encode_with_av(chirp(rate, 4.0), extension, codec, rate)
    path = tmp_path / f"a{extension}"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(AudioError, match="truncated|undecodable"):
        decode(path)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_recording_of_a_browser(tmp_path, share):
    """Such a file does not give its length."""
    path = tmp_path / "a.webm"
    data = stream_with_av(chirp(48000, 4.0), "webm", "libopus")
    path.write_bytes(data)
    assert len(decode(path).samples) == 4 * 48000
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(AudioError, match="truncated: .* last element are"):
        decode(path)


FRAGMENTS = {
    "movflags": "frag_keyframe+empty_moov+default_base_moof",
    "frag_duration": "500000",
}


def test_fragmented_mp4(tmp_path):
    path = tmp_path / "a.mp4"
    original = chirp(16000, 4.0)
    args = (original, ".mp4", "aac", 16000, FRAGMENTS)
    path.write_bytes(encode_with_av(*args))
    samples = decode(path).samples[:, 0]
    # Fragments do not give the delay of the encoder.
    assert 4 * 16000 <= len(samples) <= 4 * 16000 + 2048
    assert lag(samples, original) in (0, 1024)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(AudioError, match="truncated"):
        decode(path)


@pytest.mark.parametrize(
    ("av_format", "codec"),
    [
        ("wav", "pcm_s16le"),
        ("w64", "pcm_s16le"),
        ("aiff", "pcm_s16be"),
        ("au", "pcm_s16be"),
        ("caf", "pcm_s16be"),
        ("flac", "flac"),
        ("wav", "adpcm_ima_wav"),
    ],
)
def test_what_ffmpeg_writes_into_a_pipe(tmp_path, av_format, codec):
    path = tmp_path / "a"
    samples = chirp(16000)
    args = (samples, f".{av_format}", codec, 16000)
    path.write_bytes(encode_with_av(*args))
    whole = decode(path)
    assert len(whole.samples) == pytest.approx(16000, abs=1500)
    assert not whole.notes
    path.write_bytes(stream_with_av(samples, av_format, codec, 16000))
    decoded = decode(path)
    np.testing.assert_array_equal(decoded.samples, whole.samples)
    assert len(decoded.notes) == 1


def test_joined_files_are_rejected(tmp_path):
    data = encode_with_av(chirp(16000), ".m4a", "aac", 16000)
    (tmp_path / "a.m4a").write_bytes(data + data)
    with pytest.raises(AudioError, match="joined: another file"):
        decode(tmp_path / "a.m4a")


def test_video_without_sound(tmp_path):
    import av

    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        frame = av.VideoFrame(32, 32, "yuv420p")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(AudioError, match="no audio: the file has no audio"):
        decode(path)


def test_without_pyav_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    path = tmp_path / "a.m4a"
    path.write_bytes(encode_with_av(chirp(16000), ".m4a", "aac", 16000))
    original = builtins.__import__

    def fail(name, *args):
        if name == "av":
            raise ImportError(name)
        return original(name, *args)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(AudioError, match=r"requires PyAV; pip install '.\[av"):
        decode(path)


@needs_cases
def test_extensions_of_the_decoders():
    extensions = {path.suffix for path in CASES.glob("other_extensions/*")}
    assert extensions <= set(formats.readable_extensions())
