"""The commands of the README, typed as a user types them, on real speech."""

import json

import numpy as np
import pytest
import soundfile

from tests.conftest import SPEECH, needs_speech, run_command


def type_in(*args):
    done = run_command(*args)
    assert done.returncode == 0, done.stderr
    return done.stdout


def whole_path(source, folder, *sets):
    """Recordings in, WAVs out; returns samples.json."""
    more = [word for text in sets for word in ("--set", text)]
    config = ("--config", "tiny", *more)
    data, run = folder / "data", folder / "run"
    export, samples = folder / "export", folder / "samples"
    type_in(
        "pipeline.preprocess",
        "--runner=DirectRunner",
        *config,
        "--source",
        source,
        "--output",
        data,
    )
    type_in(
        "stftgan_tf.train", *config, "--data", data, "--run", run, "--steps", 10
    )
    type_in("stftgan_tf.export", "--run", run, "--output", export)
    out = type_in(
        "stftgan_tf.sample",
        *("--model", export, "--num", 4, "--seed", 0, "--output", samples),
    )
    assert str(samples / "grid.png") in out
    listed = json.loads((samples / "samples.json").read_text())
    for row in listed["samples"]:
        audio, rate = soundfile.read(samples / row["file"])
        assert rate == listed["sample_rate_hz"]
        assert np.isfinite(audio).all() and 1e-4 < np.abs(audio).max() < 0.99
    return listed


@needs_speech
def test_spoken_digits(tmp_path):
    listed = whole_path(SPEECH / "fsdd" / "recordings", tmp_path)
    assert len(listed["samples"]) == 4


@needs_speech
@pytest.mark.parametrize("source", ["librispeech16k/test-other", "mixed"])
def test_other_rates_and_formats(tmp_path, source):
    listed = whole_path(
        SPEECH / source,
        tmp_path,
        "audio.sample_rate_hz=16000",
        "audio.name_regex=''",
        "window.stride_frames=512",
        "evaluate.clusters=2",
    )
    assert listed["sample_rate_hz"] == 16000


@needs_speech
def test_a_manifest_gives_labels_and_speakers(tmp_path):
    source = SPEECH / "fsdd" / "manifest.csv"
    type_in(
        "pipeline.preprocess",
        *("--config", "tiny", "--set", "audio.name_regex=''"),
        *("--source", source, "--output", tmp_path / "data"),
    )
    stats = json.loads((tmp_path / "data" / "stats.json").read_text())
    assert sorted(stats["labels"]["train"]) == list("0123456789")
    assert len(stats["speakers"]["train"]) == 6


def test_the_demo_corpus_recordings(recordings, tmp_path):
    listed = whole_path(recordings, tmp_path)
    assert len(listed["samples"]) == 4
