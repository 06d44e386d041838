import json
import re

import numpy as np
import pytest
import soundfile

from pipeline import validate
from tests.conftest import preprocess_tiny


def run(data, *flags):
    return validate.main([f"--data={data}", "--config=tiny", *flags])


def write(recordings, directory, change):
    """Copies recordings, with a change to their names and samples."""
    directory.mkdir()
    for path in sorted(recordings.glob("*.wav")):
        samples, rate = soundfile.read(path, dtype="float32")
        name, samples, rate = change(path.name, samples, rate)
        if name:
            soundfile.write(directory / name, samples, rate)
    return directory


def shuffled(name, samples, rate):
    # A hash of the take, which is independent of the word.
    digit = (int(name[0]) * 7 + sum(map(ord, name)) * 3 + len(samples)) % 10
    return f"{digit}{name[1:]}", samples, rate


def silent(name, samples, rate):
    gap = np.zeros(int(1.5 * len(samples)), np.float32)
    return name, np.concatenate([samples, gap]), rate


UNFIT = {
    "wrong rate": (lambda n, s, r: (n, s, r * 2), "spectrum: "),
    "one speaker": (
        lambda n, s, r: (n if "adam" in n else None, s, r),
        "speakers: 1",
    ),
    "half silence": (silent, "silence: "),
    "shuffled labels": (shuffled, "labels: the nearest training windows"),
    "missing digits": (
        lambda n, s, r: (n if n[0] < "4" else None, s, r),
        "labels: not the same labels",
    ),
}


def test_a_good_data_set_is_fit(shards, capsys, tmp_path):
    output = tmp_path / "anomalies.json"
    assert run(shards, f"--reference={shards}", f"--output={output}") == 0
    assert "is fit to train on" in capsys.readouterr().out
    assert json.loads(output.read_text())["anomalies"] == []


FIT = {
    "neither labels nor speakers": ["--set=audio.name_regex="],
    "unknown speakers, one label": [
        "--set=audio.name_regex=(?P<label>[0-9])_",
        "--set=audio.label_regex=7",
    ],
    "two labels": ["--set=audio.label_regex=[37]"],
}


@pytest.mark.parametrize("kind", FIT)
def test_unknown_labels_and_speakers_are_not_anomalies(
    recordings, tmp_path, capsys, kind
):
    data = tmp_path / "data"
    assert preprocess_tiny(recordings, data, *FIT[kind]) == 0
    code = run(data, *FIT[kind], "--set=evaluate.clusters=4")
    assert code == 0, capsys.readouterr().out


def test_too_few_windows_for_an_evaluation(recordings, tmp_path, capsys):
    data = tmp_path / "data"
    flags = ["--set=split.eval_fraction=0", "--set=split.by=recording"]
    assert preprocess_tiny(recordings, data, *flags) == 0
    assert run(data, "--set=evaluate.clusters=1000") == 1
    out = capsys.readouterr().out
    assert "in Split-train; the evaluation of a model requires at le" in out
    assert "anomaly: windows: 0 in Split-eval; the evaluation" in out


@pytest.mark.parametrize("kind", UNFIT)
def test_a_fault_in_the_recordings_is_an_anomaly(
    recordings, shards, tmp_path, capsys, kind
):
    change, reason = UNFIT[kind]
    source = write(recordings, tmp_path / "source", change)
    data = tmp_path / "data"
    assert preprocess_tiny(source, data) == 0
    capsys.readouterr()
    assert run(data, f"--reference={shards}") == 1
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert any(f"anomaly: {reason}" in line for line in lines), lines
    assert "is not fit to train on" in captured.err


def test_copies_in_both_splits_are_an_anomaly(recordings, tmp_path, capsys):
    source = write(recordings, tmp_path / "source", lambda *args: args)
    copies = source / "backup"
    copies.mkdir()
    for path in sorted(source.glob("*_0.wav")):
        samples, rate = soundfile.read(path, dtype="int16")
        # Equal audio in other bytes, so that no hash of files finds it.
        soundfile.write(copies / f"{path.stem}.flac", samples, rate, "PCM_16")
    data = tmp_path / "data"
    flags = [
        "--set=split.by=regex",
        "--set=split.eval_regex=(^backup/|_1.wav$)",
    ]
    assert preprocess_tiny(source, data, *flags) == 0
    capsys.readouterr()
    assert run(data) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("anomaly: leaks: ")
    assert re.search(r"backup/(\d_\w+_0)\.flac = \1\.wav, ", line)
    assert "are also training windows; expected at most 1 %: remove" in line
    assert run(data, "--set=validate.max_leaked=1") == 0
    out = capsys.readouterr().out
    assert out.startswith("note: leaks: ") and "is fit to train on" in out


def test_damage_is_an_anomaly(shards_copy, capsys):
    shard = next(shards_copy.glob("Split-train/*"))
    content = bytearray(shard.read_bytes())
    content[1000] ^= 1
    shard.write_bytes(content)
    assert run(shards_copy) == 1
    assert "anomaly: " in capsys.readouterr().out


def test_a_directory_that_is_not_a_data_set_is_refused(tmp_path, capsys):
    assert run(tmp_path) == 1
    assert "is not a data set" in capsys.readouterr().err
