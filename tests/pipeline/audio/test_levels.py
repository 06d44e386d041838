import numpy as np
import pytest

from pipeline.audio import levels
from pipeline.audio.levels import Meter, WordLength
from tests.conftest import noise
from tests.pipeline.audio.sounds import RATE, powers

LSB_16 = 2.0**-15


def decibels(rms):
    return 20 * np.log10(rms)


def measure(samples, portion=10 * RATE, emphasise=False):
    meter = Meter(RATE, emphasise, keep_peaks=True)
    for start in range(0, len(samples), portion):
        meter.add(np.float32(samples[start : start + portion]))
    return meter.levels()


def test_levels_of_a_square_wave_on_a_constant():
    # 10 ms at +0.5 and -0.25 in turns, around 0.125; 5 ms more at the end.
    square = np.tile([0.5, -0.25], 420) + 0.125
    result = measure(square)
    assert (result.step, result.count) == (80, 840)
    assert result.mean == pytest.approx(0.25)
    assert result.rms == pytest.approx(0.375)
    assert result.peak == pytest.approx(0.375)
    np.testing.assert_allclose(result.powers, np.full(11, 0.375**2))
    np.testing.assert_allclose(result.peaks, np.full(11, 0.375))


def test_levels_do_not_depend_on_the_portions_that_are_added():
    whole = measure(noise(2000) + 0.3, emphasise=True)
    parts = measure(noise(2000) + 0.3, portion=240, emphasise=True)
    assert whole.mean == pytest.approx(parts.mean, rel=1e-12)
    for name in ("powers", "peaks", "emphasised"):
        np.testing.assert_allclose(
            getattr(whole, name), getattr(parts, name), rtol=1e-6
        )


def test_pre_emphasis_weakens_hum_and_not_speech():
    times = np.arange(RATE) / RATE
    hum = measure(np.sin(2 * np.pi * 50 * times), emphasise=True)
    vowel = measure(np.sin(2 * np.pi * 1000 * times), emphasise=True)
    # |1 - 0.95 exp(-i w)| at 1 kHz, where w = 2 pi / 8.
    expected = abs(1 - 0.95 * np.exp(-2j * np.pi / 8)) ** 2 / 2
    assert np.median(vowel.emphasised) == pytest.approx(expected, rel=0.03)
    assert np.median(hum.emphasised) < expected / 100


@pytest.mark.parametrize(
    ("samples", "step"),
    [
        ([1, -1, 0, 2], LSB_16),
        ([0.5, -0.5], 2.0**-16),
        ([256, -512], 2.0**-7),
        ([2.0**-8, 1], 2.0**-23),
        ([2.0**-9, 1], 0),
        ([1 / 3], 0),
        ([0, 0], 0),
        ([16384, 16385], LSB_16),
    ],
)
def test_word_length_follows_from_the_samples(samples, step):
    word_length = WordLength()
    for sample in samples:
        word_length.add(np.float32([[sample * LSB_16]]))
    assert word_length.step == step


def test_active_level_leaves_out_pauses_except_for_200_ms():
    # 80 blocks of power 1 and a hang-over of 20 blocks.
    speech = powers((100, -80), (80, 0), (300, -80))
    active = levels.active_level(speech)
    assert active**2 == pytest.approx(0.8, rel=1e-3)
    assert levels.active_level(powers((50, -20))) == pytest.approx(0.1)


def test_active_level_of_speech_in_hours_of_noise():
    speech = powers((360_000, -60), (400, -20), (360_000, -60))
    assert decibels(levels.active_level(speech)) == pytest.approx(-20, abs=0.3)


def test_clicks_are_no_activity():
    noise_only = powers((1000, -60))
    clicks = noise_only.copy()
    clicks[[100, 500, 501]] = 0.1
    assert decibels(levels.active_level(clicks)) < -30
    assert levels.sustained(clicks) == pytest.approx(1e-3)


def test_noise_floor_of_speech_with_pauses():
    speech = powers((600, -60), (100, -20), (300, -60))
    assert levels.noise_floor(speech, 0.1) == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize(
    "parts",
    [
        # Steady.
        [(1000, -20)],
        # Rain with gusts: 12 dB.
        [(500, -32), (500, -20)],
        # A decaying tone has as much of each level.
        [(10, -20 - db) for db in range(60)],
        # Words in digital silence.
        [(20, -20), (10, -35), (5, -45), (400, -150)],
    ],
)
def test_no_noise_floor(parts):
    assert levels.noise_floor(powers(*parts), 0.1) == 0
