"""Windows that are placed on speech."""

import dataclasses
import itertools

import numpy as np
import pytest
import soundfile

from pipeline.audio.errors import AudioError
from pipeline.audio.measurement import ChannelStats
from pipeline.beam import placement, segments
from stftgan_tf.data import records
from tests.pipeline.beam.cutting import contents

RATE = 8000

# In `tiny` a window has 544 samples, a frame starts every 32 samples and the
# stride is 512.
SIZE, STEP, STRIDE = 544, 32, 512


def on_speech(config, **values):
    window = dataclasses.replace(config.window, place="speech", **values)
    return dataclasses.replace(config, window=window)


def window_starts(config, *speech, start=0, samples=100_000):
    level = dict(mean=0.0, peak=1.0, rms=0.1, active=0.1, noise=0.0)
    stats = ChannelStats(
        start=start,
        samples=samples,
        source_frames=samples,
        speech=speech,
        **level,
    )
    return placement.window_starts(stats, config)


@pytest.mark.parametrize(
    ("speech", "starts"),
    [
        # Centred: half of 1000 + 1300 - 544.
        ([(1000, 1300)], [878]),
        # At the ends of the recording the word stays inside of the window.
        ([(50, 250)], [0]),
        ([(99_800, 99_900)], [99_456]),
        # 1500 samples: two strides beyond a window, which cover 1568.
        ([(1000, 2500)], [966, 1478, 1990]),
        # Far apart: 4883, rounded down to whole frames from the first one.
        ([(1000, 1300), (5000, 5310)], [878, 4878]),
        # Both fit: their centres are 400 apart, the windows 512.
        ([(1000, 1300), (1400, 1700)], [822, 1334]),
        # 100 samples are shared, so they are covered as one stretch.
        ([(10, 460), (470, 920)], [0, 512]),
    ],
)
def test_where_windows_are_placed(tiny, speech, starts):
    result = window_starts(on_speech(tiny), *speech)
    assert list(result) == starts


def test_a_word_that_is_a_little_too_long_has_one_window(tiny):
    speech = (1000, 1700)  # 156 samples more than a window
    assert len(window_starts(on_speech(tiny, tail="pad"), speech)) == 2
    (start,) = window_starts(on_speech(tiny, tail="crop"), speech)
    assert start == 1078


def test_the_longest_word_is_not_cropped(tiny):
    config = on_speech(tiny, tail="crop")
    # The first window cannot start earlier, so the words share a window.
    assert window_starts(config, (5, 105), (300, 740)) == (196,)


def test_a_recording_that_is_shorter_than_a_window_is_whole_in_it(tiny):
    (start,) = window_starts(on_speech(tiny), (10, 100), samples=400)
    assert start == -144  # the word is at the beginning


def test_trimmed_silence_is_not_in_windows(tiny):
    (start,) = window_starts(on_speech(tiny), (900, 1100), start=1000)
    assert start == 1000
    # All speech has been trimmed, which loud clicks can cause.
    result = window_starts(on_speech(tiny), (0, 99), start=1000, samples=544)
    assert list(result) == [1000]


def test_windows_contain_all_speech_and_are_a_stride_apart(tiny):
    rng = np.random.default_rng(0)
    edges = rng.integers(30, 900, 400).cumsum().reshape(-1, 2)
    config, samples = on_speech(tiny), int(edges[-1, 1])
    result = window_starts(config, *edges.tolist(), samples=samples)
    assert all(b - a >= STRIDE for a, b in itertools.pairwise(result))
    assert all((a - result[0]) % STEP == 0 for a in result)
    covered = np.zeros(samples + SIZE, bool)
    for start in result:
        covered[max(0, start) : start + SIZE] = True
    for start, stop in edges:
        assert covered[start : stop - STEP].all()
    assert list(result) == list(
        window_starts(config, *edges.tolist(), samples=samples)
    )


def write_words(path, words, secs):
    """Noise at -50 dB, with words of 50 ms at -10 dB at some times."""
    rng = np.random.default_rng(0)
    samples = rng.standard_normal(int(secs * RATE)) * 10 ** (-50 / 20)
    for at in words:
        word = rng.standard_normal(RATE // 20 * 3) * 10 ** (-14 / 20)
        start = int(at * RATE)
        samples[start : start + len(word)] += word
    soundfile.write(path, samples, RATE, subtype="FLOAT")


def test_segments_have_the_windows_of_the_whole_recording(
    tiny, tmp_path, monkeypatch
):
    config, path = on_speech(tiny), tmp_path / "a.wav"
    write_words(path, [1, 5, 5.5, 6, 12, 29], 30)
    _, (whole,) = contents(path, config)
    monkeypatch.setattr(segments, "SEGMENT_SECS", 2.0)
    parts, windows = contents(path, config)
    assert len(parts) == 4
    np.testing.assert_allclose(
        [w for part in windows for w in part.windows], whole.windows, atol=1e-4
    )
    # Each segment reads only what its windows need.
    spans = [segments.request(part, config).args[:2] for part in parts]
    assert all(stop - start < 2 * RATE for start, stop in spans)
    assert not parts[0].stats.speech
    indices = [
        records.decode(record)["window_index"]
        for part, content in zip(parts, windows, strict=True)
        for record in segments.encode(part, content, config)
    ]
    assert indices == list(range(len(whole.windows)))
    # Frames between the placements are in no moments.
    assert sum((w.counts > 0).sum() for w in windows) == pytest.approx(
        16 * len(whole.windows), abs=16
    )


@pytest.mark.parametrize("segment_secs", [60.0, 1.0])
def test_a_recording_without_speech_is_unusable(
    tiny, tmp_path, monkeypatch, segment_secs
):
    monkeypatch.setattr(segments, "SEGMENT_SECS", segment_secs)
    write_words(tmp_path / "a.wav", [], 3)
    with pytest.raises(AudioError, match="no speech: nothing exceeds"):
        contents(tmp_path / "a.wav", on_speech(tiny))
    _, parts = contents(tmp_path / "a.wav", tiny)
    assert all(part.audible.all() for part in parts)
