"""Labels and speakers in the names of well-known and of other corpora."""

import hashlib
import itertools
import re

import pytest

from pipeline.auto import name_patterns
from pipeline.sources.entries import Listing, of_files
from pipeline.sources.labels import assign
from stftgan_tf.config import AudioConfig

DIGITS, TAKES, FEW = range(10), range(20), range(2)
PEOPLE, COLOURS = ("ann", "bob"), ("red", "blue")
CHAPTERS = [f"{s}-{7 * s + 1}" for s in range(100, 130)]


def paths(form, *values):
    """The form, filled with every combination of values."""
    return [form.format(*row) for row in itertools.product(*values)]


def codes(count):
    return [hashlib.md5(bytes([i])).hexdigest()[:8] for i in range(count)]


# Corpus -> names, and the numbers of labels and speakers in them.
WORDS = {
    "FSDD": (paths("{}_{}_{}.wav", DIGITS, PEOPLE, TAKES), 10, 2),
    "upper case": (paths("r/{}_{}_{}.WAV", DIGITS, PEOPLE, TAKES), 10, 2),
    "AudioMNIST": (
        paths("{0:02}/{1}_{0:02}_{2}.wav", range(8), DIGITS, TAKES),
        10,
        8,
    ),
    "Speech Commands": (
        paths("{}/{}_nohash_{}.wav", ("bed", "up"), codes(20), FEW)
        + ["_background_noise_/tap.wav"],
        2,
        20,
    ),
    "digits in folders": (paths("{0}/r{0}{1}.wav", DIGITS, TAKES), 10, 0),
    "words in folders": (paths("{}/{}.wav", ("ax", "b_c"), codes(50)), 2, 0),
    "word/person_1": (paths("{}/{}_{}.wav", COLOURS, PEOPLE, TAKES), 2, 2),
    "word/speaker": (paths("{}/spk{}/{}.wav", COLOURS, DIGITS, TAKES), 2, 10),
    "speaker/word": (paths("spk{}/{}/{}.wav", DIGITS, COLOURS, TAKES), 2, 10),
    "one_person_1": (
        paths("{}_{}_{}.wav", ("zero", "one"), PEOPLE, TAKES),
        2,
        2,
    ),
    "words in names": (paths("{}_{:03}.wav", COLOURS, TAKES), 2, 0),
    # Which of the two is the word?
    "two unknown parts": (
        paths("{}_{}_{}.wav", PEOPLE, COLOURS, TAKES),
        0,
        0,
    ),
    "codes": (paths("{}.wav", codes(200)), 0, 0),
    "recorder": (paths("rec_{:03}.wav", range(100)), 0, 0),
    "folders of three": (paths("{}/{}.wav", COLOURS, range(3)), 0, 0),
    "many folders": (paths("w{}/{}.wav", codes(100), FEW), 0, 0),
}

SPEECH = {
    "LibriSpeech": (paths("test/{}-{:04}.flac", CHAPTERS, FEW), 0, 30),
    "LibriTTS": (
        [
            path.replace("-", "_")
            for path in paths("{}-{:06}-000000.wav", CHAPTERS, FEW)
        ],
        0,
        30,
    ),
    "VCTK": (
        paths("p{0}/p{0}_{1:03}_mic1.flac", range(225, 240), TAKES),
        0,
        15,
    ),
    "TIMIT": (paths("TRAIN/DR1/FC{}X0/SX{}.WAV", ("AB", "CD"), TAKES), 0, 2),
    "VoxCeleb": (
        paths("id{}/{}/{:05}.wav", range(10270, 10290), codes(2), FEW),
        0,
        20,
    ),
    "RAVDESS": (
        paths("A_{0:02}/03-01-{1:02}-01-01-01-{0:02}.wav", TAKES, DIGITS),
        10,
        20,
    ),
    "CREMA-D": (
        paths("{}_DFA_{}_XX.wav", range(1001, 1031), ("ANG", "HAP")),
        2,
        30,
    ),
    "Common Voice": (paths("clips/common_voice_en_{}.mp3", range(99)), 0, 0),
    "LJ Speech": (paths("wavs/LJ{:03}-{:04}.wav", DIGITS, TAKES), 0, 0),
    "dates": (
        paths("{}-{:02}-{:02}.wav", (2022, 2023), range(1, 13), TAKES),
        0,
        0,
    ),
    "people in folders": (paths("{}/{}.wav", PEOPLE, TAKES), 0, 2),
    "people in names": (paths("{}_{}.wav", PEOPLE, TAKES), 0, 2),
    "splits": (paths("{}/{}.wav", ("train", "test"), TAKES), 0, 0),
    "sessions": (paths("session{}/part{}.wav", DIGITS, TAKES), 0, 0),
    "takes": (paths("take {}.wav", range(12)), 0, 0),
}


def counts_of(files, chosen):
    """Numbers of labels and speakers that preprocess reads from the names."""
    config = chosen.applied_to(AudioConfig(sample_rate_hz=8000))
    listing = Listing(of_files((file, file) for file in files), "x")
    entries = assign(listing, config)
    labels = {e.label for e in entries if e.label}
    return len(labels), len({e.speaker for e in entries if e.speaker})


@pytest.mark.parametrize("corpus", [*WORDS, *SPEECH])
def test_names_of_corpora(corpus):
    files, labels, speakers = (WORDS | SPEECH)[corpus]
    result = name_patterns.read(sorted(files), words=corpus in WORDS)
    assert counts_of(files, result) == (labels, speakers)
    # What is reported is what preprocess reads.
    fields = result.labels, result.speakers
    assert [len(f.values) if f else 0 for f in fields] == [labels, speakers]


def test_a_label_of_the_known_form_is_the_right_part():
    result = name_patterns.read(sorted(WORDS["FSDD"][0]), words=True)
    match = re.search(result.name_regex, "7_ann_3.wav")
    assert match.groupdict() == {"label": "7", "speaker": "ann"}


def test_one_recording_has_no_pattern():
    result = name_patterns.read(["100_121123_000000_000000.wav"], False)
    assert result == name_patterns.Names()
