import dataclasses

import numpy as np
import pytest
import soundfile

from pipeline.audio import reading
from pipeline.audio.errors import AudioError
from stftgan_tf.config import AudioConfig
from tests.conftest import noise
from tests.pipeline.audio.sounds import RATE, sine, write

CONFIG = AudioConfig(sample_rate_hz=RATE)


@pytest.mark.parametrize(
    ("name", "rate", "channels", "subtype"),
    [
        ("a.wav", 8000, 1, "PCM_16"),
        ("a.wav", 11025, 2, "PCM_U8"),
        ("a.wav", 48000, 6, "PCM_24"),
        ("a.wav", 44100, 8, "PCM_32"),
        ("a.wav", 96000, 1, "FLOAT"),
        ("a.wav", 192000, 2, "DOUBLE"),
        ("a.wav", 16000, 1, "ULAW"),
        ("a.flac", 44100, 2, "PCM_24"),
        ("a.flac", 96000, 8, "PCM_16"),
        ("a.aiff", 22050, 1, "PCM_16"),
        ("a.ogg", 22050, 1, "VORBIS"),
        ("a.opus", 48000, 2, "OPUS"),
        ("a.mp3", 32000, 2, "MPEG_LAYER_III"),
        ("a.au", 8000, 1, "PCM_16"),
        ("a.caf", 44100, 2, "PCM_16"),
        ("a.w64", 16000, 1, "PCM_16"),
    ],
)
def test_formats_rates_and_channel_counts(
    tmp_path, name, rate, channels, subtype
):
    path = str(tmp_path / name)
    wave = np.repeat(sine(rate)[:, None], channels, axis=1)
    # libsndfile writes more than two channels as extensible.
    formats = {".wav": "WAVEX"} if channels > 2 else {"opus": "OGG"}
    soundfile.write(
        path, wave, rate, subtype=subtype, format=formats.get(path[-4:])
    )
    (stats,) = reading.measure(path, CONFIG)
    assert stats.samples == pytest.approx(RATE, abs=1)
    # Lossy formats overshoot.
    is_lossless = subtype.startswith(("PCM", "FLOAT", "DOUBLE", "ULAW"))
    assert stats.peak == pytest.approx(0.5, abs=0.02 if is_lossless else 0.12)
    assert stats.rms == pytest.approx(0.5 / np.sqrt(2), abs=0.02)
    samples = reading.read(path, CONFIG, 0, stats.samples)
    # Away from the ends the resampled sine is the sine of the target rate.
    np.testing.assert_allclose(
        samples[500:-500], sine(RATE)[500:-500], atol=0.02
    )


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(RATE), "silent"),
        (np.full(RATE, 0.5), "silent: constant"),
        (np.zeros(0), "empty: 0 samples"),
        ([0.5], "silent"),
        ([0.1, np.nan], "not finite"),
        ([0.1, np.inf], "not finite"),
        ([0.1, 1e25], "not finite: .* absurd values"),
    ],
)
def test_unusable_samples(tmp_path, samples, reason):
    write(tmp_path / "a.wav", samples=samples, subtype="FLOAT")
    with pytest.raises(AudioError, match=reason):
        reading.measure(str(tmp_path / "a.wav"), CONFIG)


def test_header_of_a_short_recording_and_statistics_of_a_long_one(tmp_path):
    path = str(tmp_path / "a.wav")
    write(path, rate=2 * RATE, samples=np.tile(sine(2 * RATE), (2, 1)).T)
    short = reading.probe(path, CONFIG, short_secs=1.0)
    assert short == reading.RecordingInfo(RATE, 1, None)
    split = dataclasses.replace(CONFIG, channels="split")
    long = reading.probe(path, split, short_secs=0.5)
    stats = reading.measure(path, split)
    assert long == reading.RecordingInfo(RATE, 2, stats)
    assert stats[0].source_frames == 2 * RATE


def test_channels_are_mixed_or_the_first_one_is_used(tmp_path):
    path = str(tmp_path / "a.wav")
    soundfile.write(path, np.tile([0.5, -0.25], (RATE, 1)), RATE)
    first = dataclasses.replace(CONFIG, channels="first")
    (mixed,) = reading.read(path, CONFIG, 10, 11)
    assert mixed == pytest.approx(0.125, abs=1e-3)
    assert reading.read(path, first, 10, 11)[0] == pytest.approx(0.5, abs=1e-3)


def test_split_channels_are_measured_and_read_separately(tmp_path):
    config = dataclasses.replace(CONFIG, channels="split")
    path = str(tmp_path / "a.wav")
    wave = np.stack([sine(RATE), np.zeros(RATE), sine(RATE, amplitude=0.1)], 1)
    soundfile.write(path, wave, RATE)
    first, silent, last = reading.measure(path, config)
    assert silent is None
    assert (first.peak, last.peak) == pytest.approx((0.5, 0.1), abs=1e-3)
    samples = reading.read(path, config, 0, RATE, channel=2)
    np.testing.assert_allclose(samples, wave[:, 2], atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_a_segment_equals_that_part_of_the_whole_recording(tmp_path, rate):
    path = str(tmp_path / "long.wav")
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 20 * rate)
    soundfile.write(path, wave, rate, subtype="FLOAT")
    whole = reading.read(path, CONFIG, 0, 20 * RATE)
    start, stop = 7 * RATE + 11, 9 * RATE + 5
    segment = reading.read(path, CONFIG, start, stop)
    np.testing.assert_allclose(segment, whole[start:stop], atol=1e-4)


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.mp3", "a.opus"])
def test_seeking_in_compressed_audio_is_exact(tmp_path, name):
    path = str(tmp_path / name)
    tones = [sine(16000, 8.0, hz, 0.1) for hz in (200, 437, 1031, 2903)]
    write(path, 16000, sum(tones) * (1 + 0.5 * sine(16000, 8.0, 3.7)))
    (stats,) = reading.measure(path, CONFIG)
    whole = reading.read(path, CONFIG, 0, stats.samples)
    start, stop = 5 * RATE + 11, 7 * RATE + 5
    segment = reading.read(path, CONFIG, start, stop)
    # An offset of one coded frame would give errors as large as the signal.
    # Opus starts to decode only a little earlier and has not quite settled.
    np.testing.assert_allclose(segment, whole[start:stop], atol=2e-3)


def test_outside_of_the_recording_are_zeros(tmp_path):
    path = str(tmp_path / "a.wav")
    soundfile.write(path, np.full(100, 0.5), RATE)
    samples = reading.read(path, CONFIG, -10, 120)
    assert not samples[:10].any() and not samples[110:].any()
    np.testing.assert_allclose(samples[10:110], 0.5, atol=1e-4)


@pytest.mark.parametrize(
    ("level", "peak_db", "rms_db"),
    [("peak", -3.0, -6.01), ("rms", 0.01, -3.0), ("none", -6.02, -9.03)],
)
def test_gain_brings_a_sine_to_its_level(tmp_path, level, peak_db, rms_db):
    config = dataclasses.replace(CONFIG, level=level, level_db=-3.0)
    path = str(tmp_path / "a.wav")
    soundfile.write(path, sine(RATE), RATE, subtype="FLOAT")
    (stats,) = reading.measure(path, config)
    levels = np.array([stats.peak, stats.rms]) * reading.gain(stats, config)
    assert 20 * np.log10(levels) == pytest.approx([peak_db, rms_db], abs=0.02)


def test_silence_at_the_ends_is_trimmed(tmp_path):
    path = str(tmp_path / "a.wav")
    quiet = 0.004 * noise(RATE)  # peak 0.002, 48 dB below the sine's
    wave = np.concatenate([quiet, sine(RATE), quiet, sine(RATE), quiet])
    soundfile.write(path, wave, RATE)
    (stats,) = reading.measure(path, dataclasses.replace(CONFIG, trim_db=40.0))
    # To 10 ms; silence in the middle stays.
    assert stats.start == pytest.approx(RATE, abs=80)
    assert stats.start + stats.samples == pytest.approx(4 * RATE, abs=80)
    (stats,) = reading.measure(path, dataclasses.replace(CONFIG, trim_db=60.0))
    assert (stats.start, stats.samples) == (0, 5 * RATE)


def test_a_recording_that_has_changed_is_not_used(tmp_path):
    path = str(tmp_path / "a.wav")
    write(path, samples=noise(3 * RATE))
    (stats,) = reading.measure(path, CONFIG)
    assert stats.source_frames == 3 * RATE
    write(path, samples=noise(2 * RATE))
    with pytest.raises(AudioError, match="changed: 16000 samples; .* 24000"):
        reading.read(path, CONFIG, 0, RATE, 0, stats)


@pytest.mark.parametrize("rate", [8000, 44100])
@pytest.mark.parametrize("mean", [-0.5, 0.001, 0.5])
def test_a_constant_is_removed_before_anything_else(tmp_path, rate, mean):
    path = str(tmp_path / "a.wav")
    wave = sine(rate, 5.0, amplitude=0.1) * (sine(rate, 5.0, 1.0, 1.0) > 0)
    wave -= wave.mean()
    soundfile.write(path, wave + mean, rate, subtype="PCM_24")
    trimmed = dataclasses.replace(CONFIG, trim_db=40.0)
    (stats,) = reading.measure(path, trimmed)
    assert stats.mean == pytest.approx(mean, abs=1e-6)
    assert stats.peak == pytest.approx(0.1, rel=0.01)
    # 5 of 10 half seconds sound, the last of which ends at 4.5 s.
    assert stats.rms == pytest.approx(0.1 / 2, rel=0.01)
    assert stats.samples == pytest.approx(4.5 * RATE, abs=160)
    gain_db = 20 * np.log10(reading.gain(stats, CONFIG))
    assert gain_db == pytest.approx(17, abs=0.1)
    # The same samples, whether a recording is read as a whole or in parts.
    _, whole = reading.load(path, CONFIG, 0)
    assert abs(whole.mean()) < 1e-4
    part = reading.read(path, CONFIG, -100, 3 * RATE, 0, stats)
    assert not part[:100].any()
    np.testing.assert_allclose(part[100:], whole[: 3 * RATE], atol=1e-5)


def test_the_gain_is_limited(tmp_path):
    path = str(tmp_path / "a.wav")
    soundfile.write(path, sine(RATE, amplitude=3e-4), RATE, subtype="PCM_24")
    (stats,) = reading.measure(path, CONFIG)
    assert reading.gain(stats, CONFIG) == pytest.approx(1000)
    soft = dataclasses.replace(CONFIG, level="none")
    assert reading.gain(stats, soft) == 1
