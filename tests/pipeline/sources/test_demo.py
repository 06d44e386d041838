import collections
import re

import soundfile

from pipeline.sources import demo


def test_every_digit_by_every_speaker(recordings):
    pattern = re.compile(demo.NAME_REGEX)
    matches = [pattern.search(path.name) for path in recordings.iterdir()]
    assert len(matches) == 60 and all(matches)
    counts = collections.Counter((m["label"], m["speaker"]) for m in matches)
    assert len(counts) == 20 and set(counts.values()) == {3}


def test_the_corpus_is_the_same_each_time(recordings, tmp_path):
    demo.write(tmp_path, ["dora"], 3)
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 30
    for path in paths:
        assert path.read_bytes() == (recordings / path.name).read_bytes()


def test_recordings_are_as_long_and_loud_as_spoken_digits(recordings):
    for path in recordings.iterdir():
        samples, rate = soundfile.read(path)
        assert 0.2 < len(samples) / rate < 1.5
        assert 0.1 < abs(samples).max() < 1.0


def test_digits_takes_and_speakers_differ(recordings):
    assert len({path.read_bytes() for path in recordings.iterdir()}) == 60


def test_every_take_has_its_own_speed_and_pitch():
    styles = [demo.take_style(take) for take in range(demo.TAKES)]
    assert len(set(styles)) == demo.TAKES == 30
    # `digits8k` holds out the first takes, which cover all pitches.
    assert len({pitch for _, pitch in styles[:5]}) == 5
    assert len({speed for speed, _ in styles[:5]}) == 5


def test_the_corpus_is_written_once_with_every_speaker(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(demo, "TAKES", 1)
    directory = demo.corpus()
    times = {p: p.stat().st_mtime_ns for p in directory.iterdir()}
    assert len(times) == 10 * len(demo.SPEAKERS)
    assert demo.corpus() == directory
    assert {p: p.stat().st_mtime_ns for p in directory.iterdir()} == times
