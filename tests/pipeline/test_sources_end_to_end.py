"""`preprocess` on folders and manifests as people have them."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from stftgan_tf.data import records
from tests.conftest import CASES, needs_cases, noise, preprocess_tiny
from tests.pipeline.data_sets import dead_letters, manifest_of, read

ALL_TRAIN = "--set=split.eval_fraction=0"


@pytest.fixture
def preprocess(tmp_path, capsys):
    """Runs the command; returns its exit code, output and data set."""

    def run(source, *flags):
        output = tmp_path / "out"
        code = preprocess_tiny(source, output, "--overwrite", *flags)
        captured = capsys.readouterr()
        lines = captured.out.splitlines()
        errors = [x for x in captured.err.splitlines() if "error" in x]
        return code, lines, captured.err if code == 0 else errors, output

    return run


@pytest.fixture
def digits(recordings, tmp_path):
    """A folder of five recordings that a test may change."""
    folder = tmp_path / "digits"
    folder.mkdir()
    for name in ("0_adam_0", "1_adam_0", "2_adam_0", "0_dora_1", "1_dora_1"):
        shutil.copy(recordings / f"{name}.wav", folder)
    return folder


def ids_of(output):
    # A split without windows has no shards.
    splits = [path.name[6:] for path in output.glob("Split-*")]
    return {
        record["recording_id"].decode()
        for split in splits
        for record in read(output, split)
    }


def test_a_copy_counts_once(preprocess, digits):
    shutil.copytree(digits, digits / "backup")
    # Unlike a copy of an unusable file, which is as unusable.
    for name in ("bad.wav", "worse.wav"):
        (digits / name).write_bytes(b"no sound")
    # Equal at both ends, but different in between.
    long, other = noise(200_000), noise(200_000)
    other[100_000] = 0.9
    for name, wave in (("x.wav", long), ("y.wav", long), ("z.wav", other)):
        soundfile.write(digits / name, wave, 8000)
    code, lines, _, output = preprocess(digits, "--max_bad_fraction=0.3")
    assert code == 0
    manifest = manifest_of(output)
    assert manifest["recordings"] == 9 and manifest["duplicates"] == 6
    assert manifest["dead_letters"] == 2
    assert dead_letters(output).keys() == {"bad.wav", "worse.wav"}
    assert {"x.wav", "z.wav"} < ids_of(output)
    assert not any(name.startswith("backup") for name in ids_of(output))
    expected = "'backup/0_adam_0.wav', which has the same content as '0_adam_"
    assert any(expected in line for line in lines)


def test_the_split_of_a_recording_does_not_depend_on_copies(preprocess, digits):
    _, _, _, output = preprocess(digits)
    before = {record["recording_id"] for record in read(output, "train")}
    shutil.copytree(digits, digits / "z_backup")
    _, _, _, output = preprocess(digits)
    after = {record["recording_id"] for record in read(output, "train")}
    assert before and before == after


@needs_cases
def test_copies_in_both_splits(preprocess):
    code, _, _, output = preprocess(CASES / "copies_in_both_splits")
    manifest = manifest_of(output)
    assert code == 0
    assert (manifest["recordings"], manifest["duplicates"]) == (8, 8)


def test_copies_under_two_labels_are_reported(preprocess, digits):
    shutil.copy(digits / "0_adam_0.wav", digits / "7_adam_0.wav")
    code, lines, _, _ = preprocess(digits, ALL_TRAIN)
    assert code == 0
    assert (
        "skipped 1 duplicate, such as '7_adam_0.wav', which has the same "
        "content as '0_adam_0.wav'; 1 of them with another label than the one "
        "kept"
    ) in lines


@pytest.mark.parametrize(
    "folder", [None, pytest.param("appledouble", marks=needs_cases)]
)
def test_files_that_macos_adds_are_skipped_and_counted(
    preprocess, digits, folder
):
    source = CASES / folder if folder else digits
    if not folder:
        (digits / "._0_adam_0.wav").write_bytes(b"\0\5\x16\7")
        (digits / "__MACOSX").mkdir()
        (digits / "__MACOSX" / "._0_adam_0.wav").write_bytes(b"\0\5\x16\7")
        (digits / "notes.txt").touch()
    code, lines, _, output = preprocess(source, ALL_TRAIN)
    assert code == 0 and not dead_letters(output)
    left_out = manifest_of(output)["left_out"]
    assert left_out["._*"] == 1
    if not folder:
        assert left_out == {"._*": 1, ".txt": 1, "__MACOSX": 1}
        assert "left out 3 files: 1 ._*, 1 .txt, 1 __MACOSX" in lines


def test_excluded_recordings(preprocess, digits):
    flags = ["--exclude=*dora*", "--exclude=2_*", ALL_TRAIN]
    code, lines, _, output = preprocess(digits, *flags)
    assert code == 0
    assert ids_of(output) == {"0_adam_0.wav", "1_adam_0.wav"}
    assert "left out 3 files: 3 by --exclude" in lines


@needs_cases
def test_other_extensions(preprocess, monkeypatch):
    """What libsndfile reads is read; PyAV's formats are counted."""
    from pipeline.audio.containers import formats

    monkeypatch.setattr(formats, "has_av", lambda: False)
    source = CASES / "other_extensions"
    code, lines, _, output = preprocess(source, ALL_TRAIN)
    assert code == 0
    assert manifest_of(output)["recordings"] == 5
    (line,) = [line for line in lines if line.startswith("left out")]
    assert "2 .m4a" in line and "pip install '.[av]'" in line
    assert manifest_of(output)["left_out"] == {".m4a": 2, ".webm": 2, ".wma": 1}


def write_unmatched_names(folder):
    """Writes two recordings whose names the shipped patterns do not match."""
    folder.mkdir()
    for name in ("100_121123_000000.wav", "0_george_0.WAV"):
        soundfile.write(folder / name, noise(4000) * len(name) / 30, 8000)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["split.by=speaker", "audio.name_regex=(?P<speaker>.+)-.+-"],
            "split.by is speaker, but 0 of 2 names give a speaker: 0 of 2 "
            "names match audio.name_regex '(?P<speaker>.+)-.+-', such as "
            "'0_george_0.WAV' and '100_121123_000000",
        ),
        (
            ["split.by=speaker", "audio.speakers=folder"],
            "no folder contains '0_george_0.WAV' and '100_121123",
        ),
        (
            ["model.condition=label", r"audio.name_regex=(?P<label>\w)-"],
            "model.condition is label, but 0 of 2 names give a label",
        ),
        (
            ["model.condition=label", "audio.name_regex="],
            "audio.name_regex is empty; set it, or audio.labels=folder",
        ),
        (
            ["model.condition=label", "audio.name_regex=(?P<speaker>0)"],
            "has no group (?P<label>...)",
        ),
        (["model.condition=label", "audio.labels=none"], "labels is none"),
        (
            ["split.by=regex", r"split.eval_regex=_[0-4]\.wav$"],
            "matches 0 of 2 names, such as '0_george_0.WAV' and",
        ),
    ],
)
@pytest.mark.parametrize(
    "names", ["made", pytest.param("shared", marks=needs_cases)]
)
def test_names_that_do_not_give_what_is_asked_for(
    preprocess, tmp_path, names, flags, message
):
    source = CASES / "names"
    if names == "made":
        source = tmp_path / "in"
        write_unmatched_names(source)
    code, _, errors, output = preprocess(
        source, *(f"--set={flag}" for flag in flags)
    )
    assert code == 1 and not output.exists()
    (error,) = errors
    assert message in error


def test_names_that_nobody_asks_for_are_a_warning(preprocess, tmp_path):
    source = tmp_path / "in"
    write_unmatched_names(source)
    name_regex = r"--set=audio.name_regex=^(?P<label>\d)_(?P<speaker>.+)_.+wav"
    code, lines, err, _ = preprocess(source, ALL_TRAIN, name_regex)
    assert code == 0
    assert "0 of 2 names give a label; 0 give a speaker" in lines
    assert "2 of 2 names give no label and no speaker" in err
    assert "it would match without regard to case: '(?i)^(?P<label>" in err
    more = ["--set=audio.name_regex=", "--set=split.by=speaker"]
    code, lines, _, _ = preprocess(source, ALL_TRAIN, *more)
    assert code == 0
    assert (
        "split.by is speaker; 2 names without a speaker are held out one by one"
    ) in lines
    code, _, err, _ = preprocess(source, ALL_TRAIN, "--set=audio.name_regex=x")
    assert code == 0 and "has no group (?P<label>...) or (?P<speaker>" in err


def test_labels_from_folders(preprocess, tmp_path, digits):
    for name in ("yes", "no"):
        (digits / name).mkdir()
    for path in digits.glob("*.wav"):
        path.rename(digits / ("no" if "0_" in path.name else "yes") / path.name)
    code, lines, err, output = preprocess(
        digits,
        "--set=audio.labels=folder",
        "--set=audio.speakers=none",
        "--set=model.condition=label",
    )
    assert code == 0 and "WARNING" not in err
    assert "5 of 5 names give a label (2: no, yes); 0 give a speaker" in lines
    assert manifest_of(output)["labels"] == ["no", "yes"]


def write_manifest(folder, text):
    """Writes u0.wav to u2.wav, of 2 s each, and a manifest beside them."""
    (folder / "wavs").mkdir()
    for index in range(3):
        wave = np.roll(noise(16000), 100 * index)
        soundfile.write(folder / "wavs" / f"u{index}.wav", wave, 8000)
    path = folder / "list.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("badquote", "badquote.csv, line 2: a quote is not closed"),
        ("extra_comma", "line 2: 4 fields; expected 3 (file, text, label)"),
        ("conflict", "lines 2 and 4, are about the same audio of wavs/u0.wav"),
        ("cwdrel", "wavs/u0.wav exists there, without b6/"),
    ],
)
@needs_cases
def test_manifests_that_are_refused(preprocess, case, message):
    code, _, errors, _ = preprocess(CASES / "manifests" / f"{case}.csv")
    assert code == 1
    (error,) = errors
    assert message in error


@needs_cases
def test_manifests_that_are_read_as_meant(preprocess):
    code, _, err, output = preprocess(CASES / "manifests" / "spaces.csv")
    assert code == 0
    assert manifest_of(output)["labels"] == ["Yes", "no", "yes"]
    assert "the labels 'Yes', 'yes' differ only in upper and lower case" in err
    flags = ["--max_bad_fraction=0.4"]
    code, _, err, output = preprocess(CASES / "manifests" / "nfc.csv", *flags)
    assert code == 0
    assert dead_letters(output) == {"wavs/élan.wav": "missing"}
    assert str(CASES / "manifests" / "wavs" / "élan.wav") in err


@pytest.mark.parametrize("made", [True, pytest.param(False, marks=needs_cases)])
def test_excerpts_of_a_manifest(preprocess, tmp_path, made):
    source = CASES / "manifests" / "segments.csv"
    if made:
        source = write_manifest(
            tmp_path,
            "file,start,end,label\nwavs/u0.wav,0.0,0.4,yes\n"
            "wavs/u0.wav,0.4,0.8,no\nwavs/u1.wav,0.1,0.5,yes\n",
        )
    code, lines, _, output = preprocess(source, "--set=audio.speakers=none")
    assert code == 0
    assert "3 of 3 rows give a label (2: no, yes); 0 give a speaker" in lines
    assert ids_of(output) == {
        "wavs/u0.wav@0-0.4",
        "wavs/u0.wav@0.4-0.8",
        "wavs/u1.wav@0.1-0.5",
    }
    # 3200 samples are 7 windows of 16 frames, which end 32 samples apart.
    manifest = manifest_of(output)
    windows = sum(manifest["windows"].values())
    assert windows + manifest["silent_windows"] == 3 * 7
    by_file = {
        split: {r["recording_id"].split(b"@")[0] for r in read(output, split)}
        for split in records.SPLITS
    }
    assert not by_file["train"] & by_file["eval"]


def test_a_missing_file_of_a_manifest_is_named_with_its_place(
    preprocess, tmp_path
):
    rows = "wavs/u0.wav\nwavs/u1.wav\nwavs/U2.wav\n"
    source = write_manifest(tmp_path, f"file\n{rows}")
    flags = ["--max_bad_fraction=0.4", ALL_TRAIN]
    code, _, _, output = preprocess(source, *flags)
    assert code == 0
    (line,) = (output / "dead_letters.jsonl").read_text().splitlines()
    letter = json.loads(line)
    assert letter["path"] == "wavs/U2.wav" and letter["reason"] == "missing"
    place = tmp_path / "wavs" / "U2.wav"
    assert letter["exception"].startswith(f"no such file: {place}; one exists")
