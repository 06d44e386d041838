"""Benchmarks start and measure what they say; measuring takes too long here."""

import importlib.util
import json
import subprocess
import sys
import venv

import numpy as np
import pytest
import soundfile

from stftgan_tf import config as config_lib
from stftgan_tf.data import dataset
from stftgan_tf.dsp import stft
from tests.conftest import ROOT, preprocess_tiny
from tests.pipeline.data_sets import read

DIRECTORY = ROOT / "benchmarks"

# The version that the benchmark of the training step was written for.
JAX = "jax==0.10.2"

# Libraries that a script needs besides those of the tests.
NEEDS = {
    "hlo_run": ["jax"],
    "phase": ["librosa", "pesq", "pystoi"],
    "train_step": ["torch"],
}


@pytest.fixture
def load(monkeypatch):
    """Imports a script of benchmarks/."""

    def load_script(name):
        path = DIRECTORY / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load_script


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in DIRECTORY.glob("*.py"))
)
def test_every_script_has_help_with_an_example(load, capsys, name):
    for library in NEEDS.get(name, []):
        pytest.importorskip(library)
    script = load(name)
    with pytest.raises(SystemExit) as exit_info:
        script.main(["--help"])
    assert exit_info.value.code == 0
    assert f"{name}.py --" in capsys.readouterr().out or name == "hlo_run"


def test_known_modes_are_counted(load):
    modes = load("modes")
    patterns = modes.make_patterns(25)
    real, labels = modes.draw(patterns, 2500, 0)
    covered, good, divergence = modes.compare(real, patterns)
    assert (covered, good) == (25, 1.0) and divergence < 1e-6
    one_of_two = modes.compare(real[labels == 3], patterns[3:5])
    assert one_of_two[:2] == (1, 1.0) and (labels == 3).sum() == 100
    copies = modes.compare(np.repeat(patterns[3:4], 900, 0), patterns)
    assert copies[:2] == (1, 1.0) and copies[2] > 0.5
    noise = np.random.default_rng(0).uniform(-1, 1, real.shape)
    assert modes.compare(np.float32(noise), patterns)[:2] == (0, 0.0)


def test_a_row_of_known_modes_trains(load):
    modes = load("modes")
    result = modes.run(modes.ROWS["digits8k"], 25, seed=0, windows=128)
    assert 0 <= result.modes <= 25 and result.secs > 0


def test_a_training_step_is_written_as_a_program(load, tmp_path):
    args = ["--config=tiny", "--batch_size", "8", f"--output={tmp_path / 'x'}"]
    args += ["--set=model.condition=cluster", "--set=train.loss=rpgan-r1r2"]
    args += ["--set=augment.target=0.6", "--set=model.num_downsamples=1"]
    assert load("hlo_step").main(args) == 0
    directory = tmp_path / "x" / "batch_8"
    meta = json.loads((directory / "meta.json").read_text())
    with np.load(directory / "inputs.npz") as inputs:
        assert len(inputs.files) == len(meta["parameters"])
    with np.load(directory / "expected.npz") as results:
        assert len(results.files) == len(meta["results"])
        assert all(np.isfinite(results[name]).all() for name in results.files)
    assert (directory / "step.hlo.pb").stat().st_size > 10000


def test_every_row_of_remedies_is_a_config(load):
    remedies = load("remedies")
    for name in remedies.ROWS:
        values, steps = remedies.changes(name, "digits8k", 1000)
        five = name in ("clipped wgan", "5 critic steps")
        assert steps == (200 if five else 1000)
        assert ("model.condition=none" in values) == (name != "config")


@pytest.mark.slow
def test_a_remedy_is_trained_evaluated_and_not_repeated(
    load, cached_shards, tmp_path, capsys
):
    remedies = load("remedies")
    args = [
        f"--data={cached_shards}",
        f"--output={tmp_path}",
        "--config=tiny",
    ]
    args += ["--updates=10", "--rows", "labels"]
    assert remedies.main(args) == 0
    table = capsys.readouterr().out.splitlines()[-3:]
    names = [row.split(" | ")[0] for row in table[1:]]
    assert names == ["real, held out", "labels"]
    path = tmp_path / "labels-10" / "evaluation" / "evaluation.json"
    result = json.loads(path.read_text())
    assert table[2].split(" | ")[1] == str(result["generated"]["ndb"])
    assert result["generated"]["label_recognised"] is not None
    written = path.stat().st_mtime_ns
    assert remedies.main(args) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == table
    assert path.stat().st_mtime_ns == written


@pytest.fixture
def tone_words(tmp_path):
    """Recordings of 1 s: a rising or a falling tone somewhere in noise."""
    rng = np.random.default_rng(0)
    rate_hz = 8000
    times = np.arange(rate_hz // 5) / rate_hz
    for label, slope in (("rising", 4000), ("falling", -4000)):
        directory = tmp_path / "words" / label
        directory.mkdir(parents=True)
        for index in range(30):
            first = 1500 + rng.uniform(-200, 200)
            word = np.sin(2 * np.pi * (first + slope * times / 2) * times)
            samples = 0.001 * rng.standard_normal(rate_hz)
            start = rng.integers(1000, 5000)
            samples[start : start + len(word)] += 0.5 * word
            soundfile.write(directory / f"{index:02d}.wav", samples, rate_hz)
    soundfile.write(
        tmp_path / "words" / "rising" / "none.wav",
        0.001 * rng.standard_normal(rate_hz),
        rate_hz,
    )
    return tmp_path / "words"


SPEECH_WINDOWS = [
    "--set=audio.labels=folder",
    "--set=window.place=speech",
    "--set=window.frames=96",
    "--set=window.stride_frames=96",
]


def test_recordings_are_compared_where_the_data_set_has_windows(
    load, tone_words, tmp_path, capsys
):
    heard = load("heard")
    data = tmp_path / "data"
    assert preprocess_tiny(tone_words, data, *SPEECH_WINDOWS) == 0
    args = [f"--source={tone_words}", f"--data={data}", "--config=tiny"]
    args += [*SPEECH_WINDOWS, f"--json={tmp_path / 'rows.json'}"]
    assert heard.main(args) == 0
    text = capsys.readouterr().out
    assert "left out: 1 recordings that are not in the data set" in text
    table = [line for line in text.splitlines() if line.startswith("held out")]
    assert len(table) == 2
    first = json.loads((tmp_path / "rows.json").read_text())
    assert [row["name"] for row in first["rows"]] == [
        "held out",
        "held out, windows and phase",
    ]
    row = first["rows"][0]
    assert row["samples"] >= 8 and row["recognised"] > 0.5
    # Five clusters and a test of 5 %.
    assert 0 <= row["ndb_expected"] < 1
    # The second time, the classifier is read.
    (cache,) = data.glob("heard-*.npz")
    written = cache.stat().st_mtime_ns
    assert heard.main(args) == 0
    assert "classifier: " not in capsys.readouterr().err
    assert cache.stat().st_mtime_ns == written
    assert json.loads((tmp_path / "rows.json").read_text()) == first


def test_excerpts_on_speech_are_those_of_the_windows(
    load, tone_words, tmp_path
):
    heard = load("heard")
    data = tmp_path / "data"
    assert preprocess_tiny(tone_words, data, *SPEECH_WINDOWS) == 0
    values = [value.removeprefix("--set=") for value in SPEECH_WINDOWS]
    config = config_lib.load("tiny", values)
    shards = dataset.open_shards(data, config)
    members, absent = heard.find_members(str(tone_words), shards, config)
    assert absent == 1
    for split, rows in members.items():
        audio = heard.read_audio(rows, config)
        windows = {
            record["recording_id"].decode(): record["window"]
            for record in read(data, split)
        }
        for member, samples in zip(rows, audio, strict=True):
            logs = stft.log_spectrogram(samples, config)
            expected = windows[member.recording.id]
            np.testing.assert_allclose(
                logs, expected.reshape(logs.shape), atol=1e-3
            )


def test_the_first_export_that_reaches_a_fid_is_named(load):
    heard = load("heard")
    rows = [{"name": "held out", "fid": 1.0}]
    for step, secs, fids in ((900, 600.0, [9, 7]), (300, None, [30, 20])):
        for fid in fids:
            model = f"exports/{step}"
            more = {"model": model, "step": step, "train_secs": secs}
            rows.append({"name": model, "fid": fid, **more})
    # The last row of an export has the medians of its draws.
    assert heard.time_to_fid(rows, 8) == (
        "FID of all <= 8: step 900, after 10:00 of training (exports/900)"
    )
    assert "step 300, after an unknown time" in heard.time_to_fid(rows, 25)
    assert "not reached; the lowest is 7.00" in heard.time_to_fid(rows, 5)


@pytest.mark.slow
def test_draws_of_an_export_are_compared(
    load, recordings, cached_shards, export, tmp_path, capsys
):
    heard = load("heard")
    path = tmp_path / "rows.json"
    args = [f"--source={recordings}", f"--data={cached_shards}"]
    args += ["--config=tiny", f"--model={export}", "--draws=2", "--fid=1"]
    assert heard.main([*args, f"--json={path}"]) == 0
    rows = json.loads(path.read_text())["rows"][2:]
    names = [f"{export.name}, {x}" for x in ("draw 1", "draw 2", "median")]
    assert [row["name"] for row in rows] == names
    assert {row["step"] for row in rows} == {20}
    assert all(row["samples"] == 64 for row in rows)
    assert rows[2]["fid"] == pytest.approx(
        (rows[0]["fid"] + rows[1]["fid"]) / 2
    )
    assert "FID of all <= 1: not reached" in capsys.readouterr().out


@pytest.mark.slow
def test_what_preprocessing_costs_is_measured(load, recordings, capsys):
    args = [f"--source={recordings}", "--config=tiny", "--names", "2000"]
    assert load("scale").main([*args, "--hours", "100", "1000"]) == 0
    lines = capsys.readouterr().out.splitlines()
    shuffled = {line[:38].strip(): line[38:].split() for line in lines[3:8]}
    assert list(shuffled) == [
        "Parts/MaybeReshuffle",
        "Plan segments/Drop duplicates",
        "Write shards/Both",
        "Write summary/Group",
        "all",
    ]
    assert all(float(text) > 0 for row in shuffled.values() for text in row)
    # The 60 recordings are once an element of each of the first two.
    assert (
        shuffled["Parts/MaybeReshuffle"][0]
        == (shuffled["Plan segments/Drop duplicates"][0])
    )
    header, row = (line.split() for line in lines[-6:-4])
    assert row[0] == "2000" and header[0] == "names"
    first, second = (line.split() for line in lines[-2:])
    assert [first[0], second[0]] == ["100", "1000"]
    assert int(second[1]) == pytest.approx(10 * int(first[1]), abs=10)


@pytest.mark.slow
def test_a_training_step_is_rehearsed_on_the_cpu(load, tmp_path):
    """As on a machine with a GPU: JAX without TensorFlow."""
    python = tmp_path / "venv" / "bin" / "python"
    venv.create(tmp_path / "venv", with_pip=True)
    install = [python, "-m", "pip", "install", "-q", "numpy", JAX]
    if subprocess.run(install).returncode:
        pytest.skip(f"pip cannot install {JAX}")
    args = ["--config=tiny", "--batch_size", "4", f"--output={tmp_path}"]
    assert load("hlo_step").main(args) == 0
    command = [python, DIRECTORY / "hlo_run.py", "--op_by_op", "--steps=2"]
    command += ["--runs=1", tmp_path / "batch_4"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    head, _, *rows = done.stdout.splitlines()
    assert head.startswith("cpu, JAX") and "GFLOP/s peak in float32" in head
    assert [row.split()[0] for row in rows] == ["4", "4"]
    assert ["op by op" in row for row in rows] == [False, True]
