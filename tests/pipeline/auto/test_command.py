"""`python -m pipeline.run` without a config."""

import json

import numpy as np
import pytest
import soundfile
import yaml

from pipeline import run
from stftgan_tf import config as config_lib
from tests.pipeline.audio.sounds import word

TOPICS = (
    "recordings",
    "sample rate",
    "labels",
    "speakers",
    "STFT",
    "windows",
    "placement",
    "split",
    "networks",
    "condition",
    "training",
)


@pytest.fixture
def flags(recordings, tmp_path):
    source, root = f"--source={recordings}", f"--root={tmp_path / 'root'}"
    return [source, root, "--runner=FnApiRunner"]


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    """One recording of 50 s."""
    directory = tmp_path_factory.mktemp("talk")
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(25):
        parts += [word(16000, 1.7, rng), rng.normal(0, 1e-4, 4800)]
    soundfile.write(directory / "talk.flac", np.concatenate(parts), 16000)
    return directory


def test_the_config_is_chosen_once(flags, talk, tmp_path, capsys):
    assert run.main([*flags, "--until=preprocess"]) == 0
    first = capsys.readouterr().out
    lines = first.splitlines()
    for topic in TOPICS:
        assert any(line.startswith(f"{topic:12s} ") for line in lines), topic
    assert "30 minutes" in first and "60 of 60 names give a label" in first
    path = tmp_path / "root" / "auto.yaml"
    text = path.read_text()
    config = config_lib.load(path)
    assert config.train.loss == "rpgan-r1r2"
    # An edit is kept, and only the first run makes a survey.
    path.write_text(text.replace("eval_fraction: 0.", "eval_fraction: 0.0"))
    assert run.main([*flags, "--until=preprocess", "--dry_run"]) == 0
    second = capsys.readouterr().out
    assert second.startswith(f"config: {path} (chosen earlier;")
    assert "note:" not in second and "preprocess      to do" in second
    # Other recordings in the same root are noticed.
    assert run.main([f"--source={talk}", flags[1], "--dry_run"]) == 0
    assert "note: the recordings have changed since" in capsys.readouterr().out


def test_a_dry_run_and_print_config_write_nothing(flags, tmp_path, capsys):
    assert run.main([*flags, "--dry_run"]) == 0
    assert "push            to do" in capsys.readouterr().out
    assert run.main([*flags, "--print_config"]) == 0
    text = capsys.readouterr().out
    assert run.main([*flags, "--print_config"]) == 0
    assert capsys.readouterr().out == text
    assert not (tmp_path / "root").exists()
    assert "  # sample rate: " in text and str(tmp_path) not in text
    config_lib.from_dict(yaml.safe_load(text))


def test_set_comes_on_top(flags, capsys):
    overrides = ["--set=model.condition=label", "--set=train.steps=77"]
    assert run.main([*flags, "--print_config", *overrides]) == 0
    text = capsys.readouterr().out
    assert "  # given: by --set\n  condition: label\n" in text
    config = config_lib.from_dict(yaml.safe_load(text))
    assert (config.model.condition, config.train.steps) == ("label", 77)


def test_the_demo_corpus_has_its_config(capsys):
    assert run.main(["--print_config"]) == 0
    text = capsys.readouterr().out
    assert yaml.safe_load(text) == config_lib.load("digits8k").to_dict()


def test_one_long_recording_is_held_out_in_pieces(
    talk, recordings, tmp_path, capsys
):
    root = tmp_path / "root"
    flags = [f"--source={talk}", f"--root={root}", "--runner=FnApiRunner"]
    assert run.main([*flags, "--until=preprocess"]) == 0
    assert "2 pieces held out" in capsys.readouterr().out
    (manifest,) = root.glob("preprocess/*/manifest.json")
    windows = json.loads(manifest.read_text())["windows"]
    assert windows["train"] > 100 and 8 <= windows["eval"] < 40
    lines = (root / "auto.csv").read_text().splitlines()
    assert lines[0] == "file,start,end"
    assert lines[1].endswith("talk.flac,0,16") and len(lines) > 3
    # The pieces are used again, and found up to date.
    assert run.main([*flags, "--until=preprocess"]) == 0
    output = capsys.readouterr().out
    assert "[1/1] preprocess: up to date" in output and "note:" not in output
    # The pieces are those of earlier recordings.
    assert run.main([f"--source={recordings}", *flags[1:], "--dry_run"]) == 1
    error = capsys.readouterr().err
    assert "have changed since" in error and "auto.csv lists" in error


def test_too_little_is_one_line(tmp_path, capsys):
    samples = np.random.default_rng(0).normal(0, 0.1, 16000)
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    assert run.main([f"--source={tmp_path}", f"--root={tmp_path}/r"]) == 1
    assert capsys.readouterr().err.startswith("error: 1 s of recordings give")
    assert not (tmp_path / "r").exists()


def test_the_default_root_has_the_name_of_the_source(
    recordings, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert run.main([f"--source={recordings}", "--dry_run"]) == 0
    assert f"pipelines/{recordings.name}/auto.yaml" in capsys.readouterr().out


def test_auto_is_for_the_pipeline_only():
    with pytest.raises(config_lib.ConfigError, match=r"ROOT/auto\.yaml"):
        config_lib.load("auto")
