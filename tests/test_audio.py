import json
import os

import numpy as np
import pytest
import soundfile

from pipeline import audio
from stftgan_tf.config import AudioConfig
from tests.conftest import SPEECH, needs_speech

RATE = 8000


@pytest.fixture
def config():
    return AudioConfig(sample_rate_hz=RATE)


def sine(rate, secs=1.0, hz=440.0, amplitude=0.5):
    return amplitude * np.sin(
        2 * np.pi * hz * np.arange(int(rate * secs)) / rate
    )


@pytest.mark.parametrize(
    ("name", "rate", "channels", "subtype"),
    [
        ("a.wav", 8000, 1, "PCM_16"),
        ("a.wav", 11025, 2, "PCM_U8"),
        ("a.wav", 48000, 6, "PCM_24"),
        ("a.wav", 96000, 1, "FLOAT"),
        ("a.flac", 44100, 2, "PCM_24"),
        ("a.ogg", 22050, 1, "VORBIS"),
    ],
)
def test_any_rate_and_channel_count(
    tmp_path, config, name, rate, channels, subtype
):
    path = str(tmp_path / name)
    wave = np.repeat(sine(rate)[:, None], channels, axis=1)
    soundfile.write(path, wave, rate, subtype=subtype)
    found = audio.scan(path, config)
    assert found.samples == pytest.approx(RATE, abs=1)
    assert found.peak == pytest.approx(0.5, abs=0.02)
    assert found.rms == pytest.approx(0.5 / np.sqrt(2), abs=0.02)
    got = audio.read(path, 0, found.samples, config)
    # Away from the ends the resampled sine is the sine of the target rate.
    np.testing.assert_allclose(got[500:-500], sine(RATE)[500:-500], atol=0.02)


def test_channels_are_mixed_or_the_first_is_taken(tmp_path, config):
    path = str(tmp_path / "a.wav")
    soundfile.write(path, np.tile([0.5, -0.25], (RATE, 1)), RATE)
    first = AudioConfig(sample_rate_hz=RATE, channels="first")
    assert audio.read(path, 10, 11, config)[0] == pytest.approx(0.125, abs=1e-3)
    assert audio.read(path, 10, 11, first)[0] == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_a_segment_is_what_the_whole_recording_has_there(
    tmp_path, config, rate
):
    path = str(tmp_path / "long.wav")
    rng = np.random.default_rng(0)
    soundfile.write(
        path, rng.uniform(-0.5, 0.5, 20 * rate), rate, subtype="FLOAT"
    )
    whole = audio.read(path, 0, 20 * RATE, config)
    part = audio.read(path, 7 * RATE + 11, 9 * RATE + 5, config)
    np.testing.assert_allclose(
        part, whole[7 * RATE + 11 : 9 * RATE + 5], atol=1e-4
    )


def test_outside_of_the_recording_there_are_zeros(tmp_path, config):
    path = str(tmp_path / "a.wav")
    soundfile.write(path, np.full(100, 0.5), RATE)
    got = audio.read(path, -10, 120, config)
    assert not got[:10].any() and not got[110:].any()
    np.testing.assert_allclose(got[10:110], 0.5, atol=1e-4)


@pytest.mark.parametrize(
    ("level", "peak_db", "rms_db"),
    [("peak", -3.0, -6.01), ("rms", 0.01, -3.0), ("none", -6.02, -9.03)],
)
def test_one_gain_brings_a_sine_to_its_level(tmp_path, level, peak_db, rms_db):
    config = AudioConfig(sample_rate_hz=RATE, level=level, level_db=-3.0)
    path = str(tmp_path / "a.wav")
    soundfile.write(path, sine(RATE), RATE, subtype="FLOAT")
    found = audio.scan(path, config)
    gain_db = 20 * np.log10(audio.gain(found, config))
    assert 20 * np.log10(found.peak) + gain_db == pytest.approx(
        peak_db, abs=0.02
    )
    assert 20 * np.log10(found.rms) + gain_db == pytest.approx(rms_db, abs=0.02)


def write_cut(path, keep):
    """A sound file of which only a share is there."""
    rng = np.random.default_rng(0)
    soundfile.write(path, rng.uniform(-0.5, 0.5, RATE), RATE)
    os.truncate(path, int(path.stat().st_size * keep))


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("a.wav", lambda p: p.write_bytes(b""), "empty: no bytes"),
        ("a.wav", lambda p: p.write_text("no sound"), "undecodable"),
        ("a.wav", lambda p: write_cut(p, 0.5), "truncated: 7978 of 16000"),
        ("a.flac", lambda p: write_cut(p, 0.5), "truncated|undecodable"),
        ("a.wav", lambda p: None, "missing"),
        ("a.wav", lambda p: p.mkdir(), "not a regular file"),
        ("a.wav", os.mkfifo, "not a regular file"),
        (
            "a.wav",
            lambda p: soundfile.write(p, np.zeros(RATE), RATE),
            "silent",
        ),
        ("a.wav", lambda p: soundfile.write(p, np.zeros(0), RATE), "empty"),
        (
            "a.wav",
            lambda p: soundfile.write(p, [0.1, np.nan], RATE, subtype="FLOAT"),
            "not finite",
        ),
    ],
)
def test_what_cannot_be_used_says_why(tmp_path, config, name, make, reason):
    path = tmp_path / name
    make(path)
    with pytest.raises(audio.AudioError, match=reason):
        audio.scan(str(path), config)


def test_a_streamed_wav_of_unknown_size_is_no_truncated_one(tmp_path, config):
    path = tmp_path / "a.wav"
    soundfile.write(path, sine(RATE), RATE)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = data[4:8] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert audio.scan(str(path), config).samples == RATE


@needs_speech
def test_every_file_of_the_mixed_set(config):
    facts = json.loads((SPEECH / "mixed" / "mixed.json").read_text())
    assert len(facts) == 15
    for name, fact in facts.items():
        found = audio.scan(str(SPEECH / "mixed" / name), config)
        secs = found.samples / RATE
        assert secs == pytest.approx(fact["seconds"], abs=0.06), name
