"""Recordings in which nothing is audible, and quiet ones that are used."""

import dataclasses

import numpy as np
import pytest
import soundfile

from pipeline.audio import reading
from pipeline.audio.errors import AudioError
from stftgan_tf.config import AudioConfig
from tests.conftest import CASES, needs_cases
from tests.pipeline.audio.sounds import RATE

CONFIG = AudioConfig(sample_rate_hz=RATE)
LSB_8, LSB_16, LSB_24 = 2.0**-7, 2.0**-15, 2.0**-23

WORD_LENGTH = "silent: nothing above the rounding noise of"


def gaussian(rms_db, secs=4.0):
    noise = np.random.default_rng(0).standard_normal(int(secs * RATE))
    return noise * 10 ** (rms_db / 20)


def dither(lsb, secs=4.0):
    """Triangular dither [N], rounded to the steps of a word length."""
    uniform = np.random.default_rng(0).uniform(-0.5, 0.5, (2, int(secs * RATE)))
    return np.round(uniform.sum(axis=0)) * lsb


def speech_like(peak_db):
    """Four bursts of a tone with three partials, 0.3 s long and 0.3 s apart."""
    times = np.arange(int(2.4 * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * hz * times) / hz for hz in (150, 450, 750))
    tone *= np.maximum(0, np.sin(2 * np.pi * times / 0.6)) ** 2
    return tone * 10 ** (peak_db / 20) / np.abs(tone).max()


def save(path, samples, subtype):
    soundfile.write(path, samples, RATE, subtype=subtype)
    return str(path)


@pytest.mark.parametrize(
    ("name", "subtype", "lsb"),
    [
        ("a.wav", "PCM_U8", LSB_8),
        ("a.wav", "PCM_16", LSB_16),
        ("a.flac", "PCM_16", LSB_16),
        ("a.aiff", "PCM_16", LSB_16),
        # The word length is that of the samples, not of the container.
        ("a.wav", "PCM_24", LSB_16),
        ("a.flac", "PCM_24", LSB_16),
        ("a.wav", "FLOAT", LSB_16),
    ],
)
@pytest.mark.parametrize("mean", [0, 0.25])
def test_dither_is_silence(tmp_path, name, subtype, lsb, mean):
    path = save(tmp_path / name, mean + dither(lsb), subtype)
    with pytest.raises(AudioError, match=WORD_LENGTH):
        reading.measure(path, CONFIG)


@pytest.mark.parametrize(
    ("samples", "subtype", "reason"),
    [
        (dither(LSB_24), "PCM_24", "nothing above -100 dB"),
        (gaussian(-120), "FLOAT", "nothing above -100 dB"),
        (gaussian(-80), "PCM_16", "no signal above steady noise"),
        (gaussian(-76), "PCM_16", "no signal above steady noise"),
        (gaussian(-80), "PCM_24", "no signal above steady noise"),
        (gaussian(-90), "FLOAT", "no signal above steady noise"),
        # A microphone that was switched on for a while.
        (np.pad(gaussian(-80), RATE), "PCM_16", "no signal above steady noise"),
        (np.full(4 * RATE, 0.5), "PCM_16", "constant"),
    ],
)
def test_nothing_but_quiet_noise_is_silence(tmp_path, samples, subtype, reason):
    path = save(tmp_path / "a.wav", samples, subtype)
    with pytest.raises(AudioError, match=reason):
        reading.measure(path, CONFIG)


@pytest.mark.parametrize("background", [np.zeros(4 * RATE), dither(LSB_16)])
def test_clicks_are_no_signal(tmp_path, background):
    clicks = background.copy()
    clicks[[5000, 5001, 17_000]] = 0.9
    path = save(tmp_path / "a.wav", clicks, "PCM_16")
    with pytest.raises(AudioError, match="silent: nothing but clicks"):
        reading.measure(path, CONFIG)


@pytest.mark.parametrize(
    ("samples", "subtype", "gain_db"),
    [
        (speech_like(-50), "PCM_16", 47),
        (speech_like(-50) + dither(LSB_16, 2.4), "PCM_16", 47),
        (speech_like(-60), "PCM_16", 57),
        (speech_like(-70), "PCM_24", 60),
        (speech_like(-70), "FLOAT", 60),
        (speech_like(-24), "PCM_U8", 21),
        (speech_like(-40), "ULAW", 37),
        # Steady sounds are used if they are loud enough.
        (gaussian(-60), "PCM_16", None),
        (gaussian(-72), "PCM_24", None),
    ],
)
@pytest.mark.parametrize("mean", [0, 0.5])
def test_quiet_signals_are_used(tmp_path, samples, subtype, gain_db, mean):
    if subtype == "ULAW":
        mean = 0  # its steps are coarse at 0.5
    path = save(tmp_path / "a.wav", samples + mean, subtype)
    (stats,) = reading.measure(path, CONFIG)
    if gain_db:
        gain = 20 * np.log10(reading.gain(stats, CONFIG))
        assert gain == pytest.approx(gain_db, abs=2)


def test_channels_that_cancel_each_other(tmp_path):
    loud = speech_like(-6)
    both = np.stack([loud, -loud], axis=1) + dither(LSB_16, 4.8).reshape(-1, 2)
    path = save(tmp_path / "a.wav", both, "PCM_16")
    with pytest.raises(AudioError, match="channels cancel .* audio.channels"):
        reading.measure(path, CONFIG)
    first = dataclasses.replace(CONFIG, channels="first")
    assert reading.measure(path, first)[0].peak == pytest.approx(0.5, rel=0.01)


def test_without_speech_a_channel_is_not_used_for_it(tmp_path):
    split = dataclasses.replace(CONFIG, channels="split")
    both = np.stack([gaussian(-30, 2.4), speech_like(-6)], axis=1)
    path = save(tmp_path / "a.wav", both, "PCM_16")
    noise, speech = reading.measure(path, split, find_speech=True)
    assert noise is None and len(speech.speech) == 4
    assert None not in reading.measure(path, split)
    with pytest.raises(AudioError, match="no speech: "):
        first = dataclasses.replace(CONFIG, channels="first")
        reading.measure(path, first, find_speech=True)


@needs_cases
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("dither_1lsb.wav", WORD_LENGTH),
        ("muted_mic_-80dB.wav", "silent: no signal above steady noise"),
        ("phase_inverted_16bit_tpdf.wav", "set audio.channels to first or"),
    ],
)
def test_shared_cases_of_nothing_audible(name, reason):
    with pytest.raises(AudioError, match=reason):
        reading.measure(str(CASES / "nothing_audible" / name), CONFIG)
