import collections
import re

import pytest
import soundfile

from pipeline.sources import demo


def test_every_digit_by_every_speaker(recordings):
    pattern = re.compile(demo.NAME_REGEX)
    found = [pattern.search(p.name) for p in recordings.iterdir()]
    assert len(found) == 60 and all(found)
    counts = collections.Counter((m["label"], m["speaker"]) for m in found)
    assert len(counts) == 20 and set(counts.values()) == {3}


def test_the_corpus_is_the_same_each_time(recordings, tmp_path):
    demo.write(tmp_path, ["dora"], 3)
    made = sorted(tmp_path.iterdir())
    assert len(made) == 30
    for path in made:
        assert path.read_bytes() == (recordings / path.name).read_bytes()


def test_recordings_are_speech_of_a_spoken_digits_length(recordings):
    for path in recordings.iterdir():
        samples, rate = soundfile.read(path)
        assert 0.2 < len(samples) / rate < 1.5
        assert 0.1 < abs(samples).max() < 1.0


def test_takes_differ(recordings):
    takes = {(recordings / f"3_adam_{i}.wav").read_bytes() for i in range(3)}
    assert len(takes) == 3


def test_every_take_of_the_corpus_speaks_in_a_way_of_its_own():
    ways = [demo._ways(take) for take in range(demo.TAKES)]
    assert len(set(ways)) == demo.TAKES == 30
    # The first takes are held out by `digits8k`: all pitches are among them.
    assert len({pitch for _, pitch in ways[:5]}) == 5
    assert len({speed for speed, _ in ways[:5]}) == 5


def test_the_corpus_is_made_once_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(demo, "SPEAKERS", {"adam": demo.SPEAKERS["adam"]})
    monkeypatch.setattr(demo, "TAKES", 1)
    folder = demo.corpus()
    before = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert len(before) == 10
    assert demo.corpus() == folder
    assert {p: p.stat().st_mtime_ns for p in folder.iterdir()} == before


def test_every_speakers_voice_exists(tmp_path):
    demo.write(tmp_path, list(demo.SPEAKERS), 1)
    assert len(list(tmp_path.iterdir())) == 10 * len(demo.SPEAKERS)


@pytest.mark.parametrize("word", range(10))
def test_words_sound_different(recordings, word):
    mine = (recordings / f"{word}_adam_0.wav").read_bytes()
    others = [
        (recordings / f"{w}_adam_0.wav").read_bytes()
        for w in range(10)
        if w != word
    ]
    assert mine not in others
