import contextlib
import dataclasses
import itertools

import numpy as np
import pytest
import soundfile

from pipeline.audio.decoder_process import DecoderProcess
from pipeline.audio.errors import AudioError
from pipeline.beam import segments
from stftgan_tf import config as config_lib
from tests.conftest import noise
from tests.pipeline.beam.cutting import contents, recording

RATE = 8000


def plan(recording, config):
    with contextlib.closing(DecoderProcess(config.audio)) as decoder:
        return segments.plan(recording, config, decoder.run)


def cut(segment, config):
    with contextlib.closing(DecoderProcess(config.audio)) as decoder:
        request = segments.request(segment, config)
        return segments.cut(segment, decoder.run(request), config)


def with_window(config, **values):
    window = dataclasses.replace(config.window, **values)
    return dataclasses.replace(config, window=window)


# In `tiny` a window has 544 samples and the stride is 512.
@pytest.mark.parametrize(
    ("samples", "tail", "count", "offset"),
    [
        (544, "pad", 1, 0),
        (100, "pad", 1, 222),  # 444 zeros, half of them before
        (545, "pad", 2, 255),  # 1056 - 545 = 511
        (1056, "pad", 2, 0),
        (545, "crop", 1, -1),  # one sample is lost, at the end of the grid
        (799, "crop", 1, -128),  # nearer to one window than to two
        (800, "crop", 2, 128),
    ],
)
def test_the_window_grid_is_centred_on_the_recording(
    tiny, samples, tail, count, offset
):
    grid = segments.window_grid(samples, with_window(tiny, tail=tail))
    assert grid == (count, offset)


def test_a_long_recording_is_split_into_segments_of_whole_windows(
    tiny, tmp_path
):
    path = tmp_path / "long.wav"
    rng = np.random.default_rng(0)
    soundfile.write(path, rng.uniform(-0.5, 0.5, 130 * RATE), RATE)
    parts = plan(recording(path), tiny)
    windows, offset = segments.window_grid(130 * RATE, tiny)
    assert len(parts) == 3
    assert sum(s.windows for s in parts) == windows
    # The samples that are read: overlapping windows, and no gap.
    spans = [segments.request(s, tiny).args[:2] for s in parts]
    assert spans[0][0] == -offset
    overlap = tiny.window_samples - tiny.stride_samples
    for before, after in itertools.pairwise(spans):
        assert after[0] == before[1] - overlap
    for before, after in itertools.pairwise(parts):
        assert after.first_window == before.first_window + before.windows
    # One level per recording, not per segment.
    assert len({s.stats for s in parts}) == 1
    assert len({s.key for s in parts}) == 3


def test_a_short_recording_is_not_decoded_when_it_is_planned(tiny, tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(20 * RATE), RATE)
    path.write_bytes(path.read_bytes()[:-1000])
    (segment,) = plan(recording(path), tiny)
    windows, _ = segments.window_grid(20 * RATE, tiny)
    assert (segment.stats, segment.windows) == (None, windows)
    with pytest.raises(AudioError, match="truncated|undecodable"):
        cut(segment, tiny)


def test_segments_have_the_windows_of_the_whole_recording(
    tiny, tmp_path, monkeypatch
):
    path = tmp_path / "a.wav"
    rng = np.random.default_rng(0)
    soundfile.write(path, rng.uniform(-0.5, 0.5, 5 * RATE), RATE)
    (whole,) = plan(recording(path), tiny)
    assert whole.windows == len(cut(whole, tiny).windows)
    monkeypatch.setattr(segments, "SEGMENT_SECS", 1.0)
    parts = plan(recording(path), tiny)
    assert len(parts) > 3
    expected = cut(whole, tiny).windows
    windows = [w for part in parts for w in cut(part, tiny).windows]
    np.testing.assert_allclose(windows, expected, atol=1e-5)


def test_a_window_far_below_its_recording_is_silent(tiny, tmp_path):
    loud = np.random.default_rng(0).uniform(-0.5, 0.5, 544)
    # No steady noise: it fades by 24 dB.
    quiet = loud * 0.02 * np.logspace(0, -1.2, 544)
    path = tmp_path / "a.wav"
    soundfile.write(path, np.concatenate([loud, np.zeros(32), quiet]), RATE)
    config = with_window(tiny, stride_frames=18)
    (segment,) = plan(recording(path), config)
    assert segment.windows == 2
    for silence_db, kept in ((30.0, [True, False]), (50.0, [True, True])):
        gated = with_window(config, silence_db=silence_db)
        content = cut(segment, gated)
        assert content.audible.tolist() == kept
        # 18 frames from start to start, 16 frames long.
        frames = np.flatnonzero(content.counts)
        assert frames.tolist() == [*range(16), *range(18, 34)][: 16 * sum(kept)]


def seconds(counts, rms_db):
    """White noise of `counts` seconds, at a level in dB."""
    noise = np.random.default_rng(0).standard_normal(int(counts * RATE))
    return noise * 10 ** (rms_db / 20)


@pytest.mark.parametrize("noise_db", [-60, -40])
@pytest.mark.parametrize("segment_secs", [60.0, 10.0])
def test_noise_between_speech_is_in_no_window(
    tiny, tmp_path, monkeypatch, noise_db, segment_secs
):
    monkeypatch.setattr(segments, "SEGMENT_SECS", segment_secs)
    path, samples = tmp_path / "a.wav", seconds(60, noise_db)
    # 20 times 0.2 s of speech, 0.1 s apart, in a minute of noise.
    for start in range(20):
        at = int((30 + 0.3 * start) * RATE)
        samples[at : at + RATE // 5] += seconds(0.2, -20)
    soundfile.write(path, samples + 0.25, RATE, subtype="FLOAT")
    _, parts = contents(path, tiny)
    audible = np.concatenate([part.audible for part in parts])
    starts = np.arange(len(audible)) * tiny.stride_samples / RATE
    assert np.flatnonzero(audible).size == pytest.approx(6 / 0.064, abs=20)
    assert starts[audible].min() > 29.9 and starts[audible].max() < 36
    # All windows are kept if that is asked for.
    everything = with_window(tiny, silence_db=100.0)
    assert all(part.audible.all() for part in contents(path, everything)[1])


@pytest.mark.parametrize("kind", ["noise", "tone", "fading tone", "gusts"])
def test_textures_keep_all_windows(tiny, tmp_path, kind):
    times = np.arange(4 * RATE) / RATE
    samples = {
        "noise": seconds(4, -20),
        "tone": 0.1 * np.sin(2 * np.pi * 60 * times),
        "fading tone": 0.1 * np.sin(2 * np.pi * 440 * times) * 2**-times,
        # 12 dB from the loudest to the quietest.
        "gusts": seconds(4, -20) * 2 ** np.sin(2 * np.pi * times),
    }
    soundfile.write(tmp_path / "a.wav", samples[kind], RATE, subtype="FLOAT")
    (segment,) = plan(recording(tmp_path / "a.wav"), tiny)
    assert cut(segment, tiny).audible.all()


def test_a_constant_part_of_a_recording_is_silent(tiny, tmp_path):
    path = tmp_path / "a.wav"
    # Speech with an offset, before and after which there are zeros.
    parts = [np.zeros(RATE), 0.3 + seconds(1, -20), np.zeros(RATE)]
    soundfile.write(path, np.concatenate(parts), RATE, subtype="FLOAT")
    (segment,) = plan(recording(path), tiny)
    audible = cut(segment, tiny).audible
    assert audible.sum() == pytest.approx(1 / 0.064, abs=5)


def test_a_window_has_its_gain(tiny, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(RATE) / 10 + 0.5, RATE, subtype="FLOAT")
    (segment,) = plan(recording(path), tiny)
    # From a peak of 0.05 to -3 dB of full scale.
    assert cut(segment, tiny).gain_db == pytest.approx(23.02, abs=0.05)


def test_trimmed_silence_is_in_no_window(tiny, tmp_path):
    path = tmp_path / "a.wav"
    silence = np.zeros(RATE)
    soundfile.write(path, np.concatenate([silence, noise(1056), silence]), RATE)
    trimmed = dataclasses.replace(tiny.audio, trim_db=40.0)
    config = dataclasses.replace(tiny, audio=trimmed)
    (segment,) = plan(recording(path), config)
    # 1056 samples, rounded up to blocks of 10 ms and to whole windows.
    assert len(cut(segment, config).windows) in (2, 3)
    assert cut(segment, config).audible.all()
    (segment,) = plan(recording(path), tiny)
    assert len(cut(segment, tiny).windows) > 30


@pytest.mark.parametrize("segment_secs", [60.0, 1e-3])
def test_a_recording_shorter_than_a_frame_is_unusable(
    tiny, tmp_path, monkeypatch, segment_secs
):
    monkeypatch.setattr(segments, "SEGMENT_SECS", segment_secs)
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(63), RATE)
    with pytest.raises(AudioError, match="short: 63 samples; expected"):
        (segment,) = plan(recording(path), tiny)
        cut(segment, tiny)


@pytest.mark.parametrize("segment_secs", [60.0, 0.1])
def test_channels_share_a_split_and_have_different_keys(
    tiny, tmp_path, monkeypatch, segment_secs
):
    monkeypatch.setattr(segments, "SEGMENT_SECS", segment_secs)
    path = tmp_path / "a.wav"
    wave = np.stack([noise(2000), np.zeros(2000), noise(2000)], axis=1)
    soundfile.write(path, wave, RATE)
    apart = dataclasses.replace(tiny.audio, channels="split")
    config = dataclasses.replace(tiny, audio=apart)
    parts = [(s, cut(s, config)) for s in plan(recording(path), config)]
    # The second channel is silent.
    parts = [(s, content) for s, content in parts if content is not None]
    names = {s.channel: s.name for s, _ in parts}
    assert names == {0: f"{path}#0", 2: f"{path}#2"}
    assert len({s.key for s, _ in parts}) == len(parts)
    assert len({s.split for s, _ in parts}) == 1
    windows = {0: [], 2: []}
    for segment, content in parts:
        windows[segment.channel] += content.windows
    assert len(windows[0]) == 4
    np.testing.assert_array_equal(windows[0], windows[2])
    assert {s.recording.name for s, _ in parts} == {str(path)}


def test_a_speaker_is_never_in_both_splits():
    config = config_lib.load("tiny", ["split.by=speaker"])
    for speaker in range(50):
        splits = {
            segments.split_of(recording(f"{i}.wav", f"s{speaker}"), config)
            for i in range(20)
        }
        assert len(splits) == 1


def test_recordings_of_unknown_speakers_are_split_by_name():
    config = config_lib.load("tiny", ["split.by=speaker"])
    splits = [
        segments.split_of(recording(f"{i}.wav"), config) for i in range(2000)
    ]
    assert splits.count("eval") / 2000 == pytest.approx(0.25, abs=0.04)


def test_a_regex_can_select_the_evaluation_split():
    config = config_lib.load("digits8k")
    assert segments.split_of(recording("7_ann_4.wav"), config) == "eval"
    assert segments.split_of(recording("7_ann_14.wav"), config) == "train"
