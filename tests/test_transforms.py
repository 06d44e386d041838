import dataclasses
import json

import apache_beam as beam
import numpy as np
import pytest
import soundfile
from apache_beam.testing import test_pipeline
from apache_beam.testing.util import assert_that, equal_to

from pipeline import audio, transforms
from pipeline.progress import Ticks
from pipeline.sources import Recording
from stftgan_tf import config as config_lib
from tests.conftest import noise

RATE = 8000


def recording(path="a.wav", speaker="", dataset="d"):
    return Recording(
        path=str(path),
        name=str(path),
        label=-1,
        speaker=speaker,
        dataset=dataset,
    )


def plan(recording, config):
    return transforms.plan(
        recording, config, lambda path: audio.scan(path, config.audio)
    )


def job(config, folder):
    return transforms.Job(config, str(folder / "out"), Ticks(None), {})


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
def test_windows_lie_on_a_grid_centred_on_the_recording(
    tiny, samples, tail, count, offset
):
    grid = transforms.window_grid(samples, with_window(tiny, tail=tail))
    assert grid == (count, offset)


def test_long_recordings_are_planned_as_segments_of_whole_windows(
    tiny, tmp_path
):
    path = tmp_path / "long.wav"
    rng = np.random.default_rng(0)
    soundfile.write(path, rng.uniform(-0.5, 0.5, 130 * RATE), RATE)
    segments = plan(recording(path), tiny)
    windows, offset = transforms.window_grid(130 * RATE, tiny)
    assert len(segments) == 3
    assert sum(s.windows for s in segments) == windows
    assert segments[0].start == -offset
    for before, after in zip(segments, segments[1:], strict=False):
        assert after.first_window == before.first_window + before.windows
        assert (
            after.start - before.start == before.windows * tiny.stride_samples
        )
    # One gain a recording, never one a segment.
    assert len({s.gain for s in segments}) == 1
    assert len({s.key for s in segments}) == 3


def test_segments_cut_what_the_whole_recording_would(
    tiny, tmp_path, monkeypatch
):
    path = tmp_path / "a.wav"
    rng = np.random.default_rng(0)
    soundfile.write(path, rng.uniform(-0.5, 0.5, 5 * RATE), RATE)
    (whole,) = plan(recording(path), tiny)
    monkeypatch.setattr(transforms, "SEGMENT_SECS", 1.0)
    parts = plan(recording(path), tiny)
    assert len(parts) > 3
    wanted = transforms.cut(whole, tiny).windows
    got = [w for part in parts for w in transforms.cut(part, tiny).windows]
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_a_silent_window_is_dropped_by_its_distance_from_the_recording(
    tiny, tmp_path
):
    loud = np.random.default_rng(0).uniform(-0.5, 0.5, 544)
    samples = np.concatenate([loud, np.zeros(32), loud * 0.02])
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, RATE)
    config = with_window(tiny, stride_frames=18)
    (segment,) = plan(recording(path), config)
    assert segment.windows == 2
    for silence_db, kept in ((20.0, [True, False]), (40.0, [True, True])):
        gated = with_window(config, silence_db=silence_db)
        found = transforms.cut(segment, gated)
        assert found.audible.tolist() == kept
        # 18 frames from start to start, 16 frames long.
        held = np.flatnonzero(found.times)
        assert held.tolist() == [*range(16), *range(18, 34)][: 16 * sum(kept)]


def test_trimmed_silence_is_in_no_window(tiny, tmp_path):
    path = tmp_path / "a.wav"
    silence = np.zeros(RATE)
    soundfile.write(path, np.concatenate([silence, noise(1056), silence]), RATE)
    trimmed = dataclasses.replace(tiny.audio, trim_db=40.0)
    config = dataclasses.replace(tiny, audio=trimmed)
    (segment,) = plan(recording(path), config)
    # 1056 samples, widened to stretches of 10 ms and to whole windows.
    assert segment.start == pytest.approx(RATE, abs=tiny.stride_samples)
    assert segment.windows in (2, 3)
    assert plan(recording(path), tiny)[0].windows > 30


def test_a_recording_shorter_than_a_frame_is_a_dead_letter(tiny, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(63), RATE)
    with pytest.raises(audio.AudioError, match="short: 63 samples; expected"):
        plan(recording(path), tiny)


def test_channels_share_a_split_and_have_keys_of_their_own(tiny, tmp_path):
    path = tmp_path / "a.wav"
    wave = np.stack([noise(2000), np.zeros(2000), noise(2000)], axis=1)
    soundfile.write(path, wave, RATE)
    apart = dataclasses.replace(tiny.audio, channels="split")
    config = dataclasses.replace(tiny, audio=apart)
    first, last = plan(recording(path), config)
    names = (first.recording.name, last.recording.name)
    assert names == (f"{path}#0", f"{path}#2")
    assert (first.channel, last.channel) == (0, 2)
    assert first.key != last.key and first.split == last.split


def test_a_speaker_is_never_in_both_splits():
    config = config_lib.load("tiny", ["split.by=speaker"])
    for who in range(50):
        splits = {
            transforms.split_of(recording(f"{i}.wav", f"s{who}"), config)
            for i in range(20)
        }
        assert len(splits) == 1


def test_recordings_of_unknown_speakers_are_split_by_name():
    config = config_lib.load("tiny", ["split.by=speaker"])
    splits = [
        transforms.split_of(recording(f"{i}.wav"), config) for i in range(2000)
    ]
    assert splits.count("eval") / 2000 == pytest.approx(0.25, abs=0.04)


def test_a_regex_can_hold_out_a_test_set():
    config = config_lib.load("digits8k")
    assert transforms.split_of(recording("7_ann_4.wav"), config) == "eval"
    assert transforms.split_of(recording("7_ann_14.wav"), config) == "train"


@pytest.mark.parametrize(
    ("split", "windows", "count"),
    [
        ("train", 2, 2),
        ("train", 1000, 4),
        ("eval", 1000, 1),
        ("train", 10_000_000, 306),  # 2 KiB each, 64 MiB a shard
    ],
)
def test_number_of_shards(tiny, split, windows, count):
    assert transforms.shard_count((split, windows), tiny) == count


def test_planning_gives_segments_and_dead_letters(tiny, tmp_path):
    good, bad = tmp_path / "good.wav", tmp_path / "bad.wav"
    soundfile.write(good, noise(2000), RATE)
    bad.write_text("no sound")
    with test_pipeline.TestPipeline() as pipeline:
        segments, dead = (
            pipeline
            | beam.Create([recording(good), recording(bad)])
            | transforms.PlanSegments(job(tiny, tmp_path))
        )
        names = segments | beam.Map(lambda s: (s.recording.name, s.windows))
        assert_that(names, equal_to([(str(good), 4)]), "segments")
        letter = {
            "path": str(bad),
            "reason": "undecodable",
            "exception": "Format not recognised.",
        }
        wanted = [letter]
        assert_that(dead | beam.Map(json.loads), equal_to(wanted), "dead")


def test_a_recording_that_vanishes_after_planning_is_a_dead_letter(
    tiny, tmp_path
):
    good, gone = tmp_path / "good.wav", tmp_path / "gone.wav"
    segments = []
    for path in (good, gone):
        soundfile.write(path, noise(2000), RATE)
        (segment,) = plan(recording(path), tiny)
        segments.append(dataclasses.replace(segment, split="train"))
    gone.unlink()
    with test_pipeline.TestPipeline() as pipeline:
        shards = (
            pipeline
            | beam.Create(segments)
            | transforms.WriteShards(job(tiny, tmp_path))
        )
        written = (
            shards | beam.Map(lambda s: s.records) | beam.CombineGlobally(sum)
        )
        assert_that(written, equal_to([4]), "written")
        paths = shards | beam.FlatMap(
            lambda s: [json.loads(text)["path"] for text in s.dead_letters]
        )
        assert_that(paths, equal_to([str(gone)]), "dead")
