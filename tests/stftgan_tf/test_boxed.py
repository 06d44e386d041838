"""The models in the box work from any directory, and are what they say."""

import json
import re

import pytest
import soundfile

import stftgan_tf as stftgan
from stftgan_tf import cli
from tests.conftest import ROOT, run_command

DIGITS = cli.boxed_models()["digits"]


def test_the_first_sound_needs_nothing_but_a_name(tmp_path):
    process = run_command(
        "stftgan_tf.sample", "--model=digits", "--num=8", cwd=tmp_path
    )
    assert process.returncode == 0, process.stderr
    samples = tmp_path / "samples" / "digits"
    assert process.stdout.startswith("8 WAV files, samples/digits/samples.json")
    rows = json.loads((samples / "samples.json").read_text())["samples"]
    assert len({row["label"] for row in rows}) > 4
    for row in rows:
        audio, rate = soundfile.read(samples / row["file"])
        assert rate == 8000 and 0.4 < len(audio) / rate < 0.7
        assert 0.01 < abs(audio).max() < 1


def test_python_knows_the_name_too():
    model = stftgan.load_model("digits")
    assert model.metadata["labels"] == list("0123456789")
    assert model.sample(2, label="7").shape == (2, model.metadata["samples"])


def test_a_directory_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert cli.find_model("digits").resolve() == tmp_path / "digits"
    assert cli.find_model("other").name == "other"


@pytest.mark.parametrize("name", sorted(cli.boxed_models()))
def test_a_boxed_model_is_small_blessed_and_attributed(name):
    directory = cli.boxed_models()[name]
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 6_000_000
    pushed = json.loads((directory / "pushed.json").read_text())
    assert pushed["verdict"]["blessed"] and not pushed["unblessed"]
    card = (directory / "model_card.md").read_text()
    assert "CC BY-SA 4.0" in card and "Jackson" in card
    for command in re.findall(r"python -m ([\w.]+)", card):
        assert (ROOT / (command.replace(".", "/") + ".py")).is_file()
    assert "stftgan_tf.train" in card
    texts = [path for path in files if path.suffix in (".json", ".md")]
    for path in texts:
        assert not re.search(r'"(/|\.\./)', path.read_text()), path
