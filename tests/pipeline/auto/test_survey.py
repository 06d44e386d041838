"""Surveys of real files."""

import functools

import numpy as np
import pytest
import soundfile

from pipeline.auto.config import choose_config
from pipeline.auto.document import nested
from pipeline.auto.survey import spread, survey
from pipeline.sources import recordings as recordings_lib
from stftgan_tf import config as config_lib
from stftgan_tf.errors import UserError
from tests.conftest import SPEECH, needs_speech
from tests.pipeline.audio.sounds import word


def facts_of(directory, **kwargs):
    return survey(
        functools.partial(recordings_lib.open_source, str(directory), **kwargs)
    )


def write_words(directory, count, rate_hz=16000, secs=3.0):
    """Recordings of one word of .6 s somewhere in room noise."""
    rng = np.random.default_rng(0)
    directory.mkdir(parents=True)
    for i in range(count):
        samples = rng.normal(0, 1e-3, round(rate_hz * secs))
        start = rng.integers(0, len(samples) - round(0.6 * rate_hz))
        samples[start : start + round(0.6 * rate_hz)] += word(rate_hz, 0.6, rng)
        soundfile.write(directory / f"{i}.wav", samples, rate_hz)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    root = tmp_path_factory.mktemp("words")
    for label in ("alexa", "jarvis"):
        write_words(root / label, 35)
    return root


def test_words_in_noise(words):
    facts = facts_of(words)
    # The same folder gives the same facts.
    assert facts == facts_of(words)
    assert (facts.recordings, facts.surveyed, facts.unusable) == (70, 70, 0)
    assert facts.kind == "words" and facts.rates == {16000: 1.0}
    assert facts.secs == pytest.approx(210)
    assert 0.3 < facts.word_secs < 0.7
    assert 0.1 < facts.active_share < 0.25
    assert facts.names.labels.values == ("alexa", "jarvis")
    config = config_lib.from_dict(nested(choose_config(facts, 30.0)))
    assert config.window.place == "speech" and config.audio.labels == "folder"


def test_the_pattern_chooses_recordings(words):
    facts = facts_of(words, pattern="alexa/*")
    assert facts.recordings == 35 and facts.names.labels is None


def test_files_of_a_high_rate_without_high_frequencies(tmp_path):
    soxr = pytest.importorskip("soxr")
    rng = np.random.default_rng(0)
    for i in range(4):
        narrow = word(8000, 3.0, rng)
        wide = soxr.resample(narrow, 8000, 48000)
        soundfile.write(tmp_path / f"{i}.wav", wide, 48000)
    facts = facts_of(tmp_path)
    assert facts.rates == {48000: 1.0} and facts.bandwidth_hz < 4400


def test_steady_sounds_and_cancelling_channels(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(4):
        rain = rng.normal(0, 0.1, 16000 * 40)
        soundfile.write(
            tmp_path / f"{i}.flac", np.stack([rain, -rain], 1), 16000
        )
    facts = facts_of(tmp_path)
    assert facts.kind == "texture" and facts.cancelling_share == 1


def test_unusable_recordings_are_counted(words, tmp_path):
    write_words(tmp_path / "a", 4)
    (tmp_path / "a" / "x.wav").write_text("no audio")
    soundfile.write(tmp_path / "a" / "y.wav", np.zeros(16000), 16000)
    facts = facts_of(tmp_path)
    assert (facts.recordings, facts.unusable) == (6, 2)
    assert facts.secs == pytest.approx(12)


def test_nothing_usable(tmp_path):
    soundfile.write(tmp_path / "y.wav", np.zeros(16000), 16000)
    with pytest.raises(UserError, match="none of 1 recordings can be used"):
        facts_of(tmp_path)


def test_a_manifest_gives_its_own_labels(words, tmp_path):
    files = sorted(words.rglob("*.wav"))[:20]
    rows = [f"{file},a,s{i % 2}" for i, file in enumerate(files)]
    source = tmp_path / "list.csv"
    source.write_text("\n".join(["file,label,speaker", *rows]))
    names = facts_of(source).names
    assert names.labels.values == ("a",) and names.labels.by == "auto"
    assert names.speakers.values == ("s0", "s1")


def test_at_most_200_recordings_are_surveyed_evenly():
    chosen = spread(range(3000), 200)
    assert len(set(chosen)) == 200
    assert (chosen[0], chosen[-1]) == (0, 2999)
    assert set(np.diff(chosen)) <= {15, 16}


@needs_speech
@pytest.mark.parametrize(
    ("folder", "kind", "labels", "speakers", "floor_db"),
    [
        ("fsdd", "words", 10, 6, -70),
        ("keywords16k", "words", 6, 0, -80),
        ("mixed", "speech", 0, 0, -90),
        pytest.param(
            *("librispeech16k", "speech", 0, 207, -90), marks=pytest.mark.slow
        ),
    ],
)
def test_recorded_speech(folder, kind, labels, speakers, floor_db):
    facts = facts_of(SPEECH / folder)
    fields = facts.names.labels, facts.names.speakers
    assert facts.kind == kind
    assert [len(f.values) if f else 0 for f in fields] == [labels, speakers]
    config = config_lib.from_dict(nested(choose_config(facts, 30.0)))
    assert config.stft.floor_db == floor_db
    recipe = {"fsdd": "digits8k", "librispeech16k": "speech16k"}.get(folder)
    if recipe:
        expected = config_lib.load(recipe)
        for section in ("stft", "window", "model", "augment", "train"):
            assert getattr(config, section) == getattr(expected, section)
