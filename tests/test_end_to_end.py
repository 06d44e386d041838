"""From real speech to WAV files, with the commands of the README."""

import json

import numpy as np
import pytest
import soundfile

from tests.conftest import (
    SPEECH,
    needs_speech,
    preprocess_tiny,
    run_command,
)


def run(command, *args):
    """Runs a command in a new process, as a user does."""
    result = run_command(command, *args)
    assert result.returncode == 0, result.stderr


def check_path(source, directory, *overrides):
    """Recordings to WAV files; returns samples.json."""
    more = [word for text in overrides for word in ("--set", text)]
    config = ("--config", "tiny", *more)
    data, model_run, model, samples = (
        directory / name for name in ("data", "run", "export", "samples")
    )
    run("pipeline.preprocess", *config, "--source", source, "--output", data)
    run(
        *("stftgan_tf.train", *config, "--data", data),
        *("--run", model_run, "--steps", 10),
    )
    run("stftgan_tf.export", "--run", model_run, "--output", model)
    run(
        *("stftgan_tf.sample", "--model", model, "--num", 4),
        *("--seed", 0, "--output", samples),
    )
    assert (samples / "grid.png").is_file()
    listing = json.loads((samples / "samples.json").read_text())
    assert len(listing["samples"]) == 4
    for row in listing["samples"]:
        audio, rate = soundfile.read(samples / row["file"])
        assert rate == listing["sample_rate_hz"]
        assert np.isfinite(audio).all() and 1e-4 < np.abs(audio).max() < 0.99
    return listing


SPEECH_16K = [
    "audio.sample_rate_hz=16000",
    "audio.name_regex=''",
    "window.stride_frames=512",
    "evaluate.clusters=2",
]


@needs_speech
def test_other_rates_and_formats(tmp_path):
    source, flags = SPEECH / "mixed", [f"--set={text}" for text in SPEECH_16K]
    assert preprocess_tiny(source, tmp_path / "data", *flags) == 0
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    assert manifest["recordings"] > 10 and manifest["dead_letters"] == 0


@needs_speech
def test_a_manifest_gives_labels_and_speakers(tmp_path):
    source = SPEECH / "fsdd" / "manifest.csv"
    flags = ["--set=audio.name_regex=''", "--pattern=*_[0-4].wav"]
    assert preprocess_tiny(source, tmp_path / "data", *flags) == 0
    stats = json.loads((tmp_path / "data" / "stats.json").read_text())
    assert sorted(stats["labels"]["train"]) == list("0123456789")
    assert len(stats["speakers"]["train"]) == 6


@needs_speech
@pytest.mark.slow
def test_speech_at_16_khz(tmp_path):
    source = SPEECH / "librispeech16k" / "test-other"
    listing = check_path(source, tmp_path, *SPEECH_16K)
    assert listing["sample_rate_hz"] == 16000


@needs_speech
@pytest.mark.slow
def test_spoken_digits(tmp_path):
    check_path(SPEECH / "fsdd" / "recordings", tmp_path)
