import dataclasses
import os

import pytest

from pipeline.sources import recordings
from stftgan_tf import config as config_lib
from stftgan_tf.config import AudioConfig
from stftgan_tf.data.records import UNKNOWN_LABEL
from stftgan_tf.errors import UserError

CONFIG = AudioConfig(
    sample_rate_hz=8000, name_regex=r"(?P<label>\w+)_(?P<speaker>\w+)\.wav$"
)


def open_source(path, config=CONFIG, **kwargs):
    return recordings.open_source(str(path), config, **kwargs)


def names_of(source):
    return [recording.name for recording in source.recordings]


def test_labels_and_speakers_come_from_names(tmp_path, touch):
    touch("no_ann.wav", "yes_bob.wav", "unnamed.wav")
    source = open_source(tmp_path)
    assert source.labels == ["no", "yes"]
    facts = [(r.name, r.label, r.speaker) for r in source.recordings]
    assert facts == [
        ("no_ann.wav", 0, "ann"),
        ("unnamed.wav", UNKNOWN_LABEL, ""),
        ("yes_bob.wav", 1, "bob"),
    ]
    assert {r.dataset for r in source.recordings} == {tmp_path.name}


def test_labels_and_speakers_come_from_a_manifest(tmp_path, touch):
    touch("b/2.wav")
    path = tmp_path / "list.csv"
    path.write_text("file,label,speaker\nb/2.wav,two,bob\n1.wav,,\n")
    source = open_source(path)
    facts = [(r.path, r.name, r.label, r.speaker) for r in source.recordings]
    assert facts == [
        (str(tmp_path / "1.wav"), "1.wav", UNKNOWN_LABEL, ""),
        (str(tmp_path / "b/2.wav"), "b/2.wav", 0, "bob"),
    ]


def test_the_ten_digit_words_of_speech_commands(tmp_path, touch):
    touch(
        "zero/004ae714_nohash_0.wav",
        "nine/004ae714_nohash_1.wav",
        "cat/004ae714_nohash_0.wav",
        "_background_noise_/pink_noise.wav",
    )
    source = open_source(tmp_path, config_lib.load("sc09").audio)
    assert source.labels == ["nine", "zero"]
    assert {r.speaker for r in source.recordings} == {"004ae714"}


def test_a_pattern_and_a_label_regex_select_recordings(tmp_path, touch):
    touch("a/no_ann.wav", "a/yes_bob.wav", "b/yes_cy.wav")
    source = open_source(tmp_path, pattern="a/*")
    assert names_of(source) == ["a/no_ann.wav", "a/yes_bob.wav"]
    config = dataclasses.replace(CONFIG, label_regex="yes|maybe")
    source = open_source(tmp_path, config)
    assert names_of(source) == ["a/yes_bob.wav", "b/yes_cy.wav"]
    assert source.labels == ["yes"]
    with pytest.raises(UserError, match="none of 3 recordings matches"):
        open_source(tmp_path, config, pattern="*.flac")


@pytest.mark.parametrize(
    ("modes", "labels", "speakers"),
    [
        ({}, ["no", "yes"], ["ann", "bob", ""]),
        ({"labels": "none"}, [], ["ann", "bob", ""]),
        (
            {"labels": "folder", "speakers": "none"},
            ["a", "deep"],
            ["", "", ""],
        ),
        (
            {"labels": "regex", "speakers": "folder"},
            ["no", "yes"],
            ["a", "deep", ""],
        ),
    ],
)
def test_what_gives_labels_and_speakers(
    tmp_path, touch, modes, labels, speakers
):
    touch("a/no_ann.wav", "b/deep/yes_bob.wav", "top.wav")
    config = dataclasses.replace(CONFIG, **modes)
    source = open_source(tmp_path, config)
    assert source.labels == labels
    assert [r.speaker for r in source.recordings] == speakers


def test_a_manifest_without_speakers_takes_them_from_names(tmp_path, touch):
    touch("in/no_ann.wav", "in/yes_bob.wav")
    path = tmp_path / "list.csv"
    path.write_text("file,label\nin/no_ann.wav,x\nin/yes_bob.wav,\n")
    for modes, labels, speakers in (
        ({}, ["x"], ["ann", "bob"]),
        ({"labels": "regex"}, ["no", "yes"], ["ann", "bob"]),
        ({"labels": "folder", "speakers": "none"}, ["in"], ["", ""]),
    ):
        source = open_source(path, dataclasses.replace(CONFIG, **modes))
        assert source.labels == labels
        assert [r.speaker for r in source.recordings] == speakers
    config = dataclasses.replace(CONFIG, speakers="manifest")
    with pytest.raises(UserError, match="audio.speakers is manifest, but the"):
        open_source(path, config)


def test_the_demo_has_labels_but_no_folders():
    config = AudioConfig(sample_rate_hz=8000)
    assert len(open_source("demo", config).labels) == 10
    config = dataclasses.replace(config, labels="folder")
    with pytest.raises(UserError, match="audio.labels is folder, but this sou"):
        open_source("demo", config)


def test_excluded_files_are_counted(tmp_path, touch):
    touch("a/no_ann.wav", "backup/a/yes_bob.wav", "b/yes_cy.flac", "c.txt")
    source = open_source(
        tmp_path, pattern="*.wav", exclude=["backup/*", "old/*"]
    )
    assert names_of(source) == ["a/no_ann.wav"]
    assert source.left_out == {
        "by --exclude": 1,
        "by --pattern": 1,
        ".txt": 1,
    }
    assert source.warnings == ["--exclude 'old/*' matches no recording"]
    (warning,) = open_source(tmp_path, exclude=["backup"]).warnings
    assert warning.endswith("; for a folder write 'backup/*'")
    for folder in ("backup/", "./backup/", "./backup/*"):
        source = open_source(tmp_path, exclude=[folder])
        assert source.left_out["by --exclude"] == 1
        assert not source.warnings
    with pytest.raises(UserError, match="without --exclude \\*"):
        open_source(tmp_path, exclude=["*"])


def test_excerpts_have_their_own_names(tmp_path, touch):
    touch("a.wav", "b.wav")
    path = tmp_path / "list.csv"
    path.write_text(
        "file,start,end\na.wav,10,\na.wav,0.4,1.25\nb.wav,,\n./a.wav,10,\n"
    )
    source = open_source(path)
    assert [r.id for r in source.recordings] == [
        "a.wav@0.4-1.25",
        "a.wav@10-",
        "b.wav",
    ]
    assert names_of(source) == ["a.wav", "a.wav", "b.wav"]
    assert len(source.duplicates) == 1


def test_each_file_is_used_once(tmp_path, touch):
    touch("a.wav", "c.wav")
    (tmp_path / "b.wav").symlink_to(tmp_path / "a.wav")
    (tmp_path / "d.wav").hardlink_to(tmp_path / "c.wav")
    path = tmp_path / "list.csv"
    path.write_text("file\na.wav\n./a.wav\nc.wav\n")
    for source, duplicates in ((tmp_path, 2), (path, 1)):
        opened = open_source(source)
        assert names_of(opened) == ["a.wav", "c.wav"]
        assert len(opened.duplicates) == duplicates


def test_an_unreadable_directory_passes_every_filter(
    tmp_path, touch, monkeypatch
):
    touch("a.wav", "yes_b.wav", "locked/b.wav")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    # A mode would not stop root, who can read every directory.
    monkeypatch.setattr(os, "scandir", refuse)
    config = dataclasses.replace(CONFIG, label_regex="yes")
    for kwargs, names in (
        ({}, ["a.wav", "locked", "yes_b.wav"]),
        ({"pattern": "a.*"}, ["a.wav", "locked"]),
        ({"config": config}, ["locked", "yes_b.wav"]),
    ):
        assert names_of(open_source(tmp_path, **kwargs)) == names
    # It is not a label.
    config = dataclasses.replace(CONFIG, name_regex=r"^(?P<label>\w+)")
    assert open_source(tmp_path, config).labels == ["a", "yes_b"]


def test_a_source_without_audio(tmp_path, touch):
    touch("notes.txt")
    with pytest.raises(UserError, match="no audio.*; left out 1 file: 1 .txt"):
        open_source(tmp_path)


def test_the_name_of_a_source(tmp_path, monkeypatch):
    (tmp_path / "speech-1.1" / "in").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "speech-1.1" / "in")
    for source, name in {
        ".": "in",
        "..": "speech-1.1",
        "../../speech-1.1/": "speech-1.1",
        "s3://b/speech-1.1": "speech-1.1",
        "lists/digits.csv": "digits",
        "tfds:spoken_digit:train": "spoken_digit-train",
        "demo": "demo",
    }.items():
        assert recordings.source_name(source) == name
