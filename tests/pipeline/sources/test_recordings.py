import dataclasses
import os

import pytest

from pipeline.audio import reading as audio
from pipeline.audio.reading import AudioError
from pipeline.sources import recordings as sources
from stftgan_tf import config as config_lib
from stftgan_tf.config import AudioConfig
from stftgan_tf.data.records import UNKNOWN_LABEL
from stftgan_tf.errors import UserError

CONFIG = AudioConfig(
    sample_rate_hz=8000, name_regex=r"(?P<label>\w+)_(?P<speaker>\w+)\.wav$"
)


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_a_folder_is_searched_in_depth_and_sorted(tmp_path):
    touch(tmp_path, "z.wav", "b/no_ann.WAV", "b/yes_bob.wav", "b/x.txt")
    found = sources.open_source(str(tmp_path), CONFIG)
    names = [r.name for r in found.recordings]
    assert names == ["b/no_ann.WAV", "b/yes_bob.wav", "z.wav"]


def test_labels_and_speakers_come_from_names(tmp_path):
    touch(tmp_path, "no_ann.wav", "yes_bob.wav", "unnamed.wav")
    found = sources.open_source(str(tmp_path), CONFIG)
    assert found.labels == ["no", "yes"]
    facts = [(r.name, r.label, r.speaker) for r in found.recordings]
    assert facts == [
        ("no_ann.wav", 0, "ann"),
        ("unnamed.wav", UNKNOWN_LABEL, ""),
        ("yes_bob.wav", 1, "bob"),
    ]


def test_the_ten_digit_words_of_speech_commands(tmp_path):
    touch(
        tmp_path,
        "zero/004ae714_nohash_0.wav",
        "nine/004ae714_nohash_1.wav",
        "cat/004ae714_nohash_0.wav",
        "_background_noise_/pink_noise.wav",
    )
    audio_config = config_lib.load("sc09").audio
    found = sources.open_source(str(tmp_path), audio_config)
    assert found.labels == ["nine", "zero"]
    assert {r.speaker for r in found.recordings} == {"004ae714"}


def test_a_manifest_names_files_labels_and_speakers(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("file, label, speaker\nb/2.wav, two, bob\n1.wav,,\n")
    found = sources.open_source(str(path), CONFIG)
    facts = [(r.path, r.name, r.label, r.speaker) for r in found.recordings]
    assert facts == [
        (str(tmp_path / "1.wav"), "1.wav", UNKNOWN_LABEL, ""),
        (str(tmp_path / "b/2.wav"), "b/2.wav", 0, "bob"),
    ]


def test_a_manifest_of_a_spreadsheet_has_a_byte_order_mark(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("file,label\na.wav,one\n", encoding="utf-8-sig")
    source = sources.open_source(str(table), CONFIG)
    assert source.labels == ["one"]


def test_a_manifest_of_json_lines(tmp_path):
    path = tmp_path / "list.jsonl"
    path.write_text(
        '{"file": "b/2.wav", "label": "two", "speaker": 7}\n\n'
        '{"file": "1.wav", "text": "\u2028"}\n'
    )
    found = sources.open_source(str(path), CONFIG)
    facts = [(r.path, r.name, r.label, r.speaker) for r in found.recordings]
    assert facts == [
        (str(tmp_path / "1.wav"), "1.wav", UNKNOWN_LABEL, ""),
        (str(tmp_path / "b/2.wav"), "b/2.wav", 0, "7"),
    ]


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (
            "csv",
            "path,label\na.wav,x\n",
            "has the columns path, label; expected",
        ),
        ("csv", "file,label\n", "names no file"),
        ("csv", "label,file\nx,a.wav\ny\n", "entry 2 names no file"),
        ("csv", "", "has the columns none"),
        ("jsonl", '{"file": "a"}\n{oops', "line 2, is no JSON"),
        ("jsonl", '{"path": "a"}', "line 1: expected an object with file"),
        ("jsonl", "[]", "line 1: expected an object"),
        ("jsonl", "", "names no file"),
    ],
)
def test_a_manifest_that_cannot_be_used(tmp_path, kind, text, message):
    path = tmp_path / f"list.{kind}"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        sources.open_source(str(path), CONFIG)


def test_a_pattern_and_labels_choose_recordings(tmp_path):
    touch(tmp_path, "a/no_ann.wav", "a/yes_bob.wav", "b/yes_cy.wav")
    found = sources.open_source(str(tmp_path), CONFIG, pattern="a/*")
    assert [r.name for r in found.recordings] == [
        "a/no_ann.wav",
        "a/yes_bob.wav",
    ]
    config = dataclasses.replace(CONFIG, label_regex="yes|maybe")
    found = sources.open_source(str(tmp_path), config)
    assert [r.name for r in found.recordings] == [
        "a/yes_bob.wav",
        "b/yes_cy.wav",
    ]
    assert found.labels == ["yes"]
    with pytest.raises(UserError, match="none of 3 recordings matches"):
        sources.open_source(str(tmp_path), config, pattern="*.flac")


def test_the_same_file_is_taken_once(tmp_path):
    touch(tmp_path, "a.wav", "c.wav")
    (tmp_path / "b.wav").symlink_to(tmp_path / "a.wav")
    (tmp_path / "d.wav").hardlink_to(tmp_path / "c.wav")
    path = tmp_path / "list.csv"
    path.write_text("file\na.wav\n./a.wav\nc.wav\n")
    for source, duplicates in ((tmp_path, 2), (path, 1)):
        found = sources.open_source(str(source), CONFIG)
        assert [r.name for r in found.recordings] == ["a.wav", "c.wav"]
        assert found.duplicates == duplicates


def test_links_are_followed_and_never_for_ever(tmp_path):
    touch(tmp_path, "in/a.wav", "elsewhere/b.wav")
    root = tmp_path / "in"
    (root / "loop").symlink_to(root)
    (root / "more").symlink_to(tmp_path / "elsewhere")
    (root / "self.wav").symlink_to("self.wav")
    found = sources.open_source(str(root), CONFIG)
    names = [r.name for r in found.recordings]
    assert names == ["a.wav", "more/b.wav", "self.wav"]


def test_a_folder_called_like_audio_is_listed_and_searched(tmp_path):
    touch(tmp_path, "x.wav/a.wav")
    found = sources.open_source(str(tmp_path), CONFIG)
    assert [r.name for r in found.recordings] == ["x.wav", "x.wav/a.wav"]


def test_a_folder_that_may_not_be_read_is_listed(tmp_path, monkeypatch):
    # (As root, who may read everything, runs tests, too.)
    touch(tmp_path, "a.wav", "yes_b.wav", "shut/b.wav")
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    wanted = dataclasses.replace(CONFIG, label_regex="yes")
    for config, pattern, names in (
        (CONFIG, "*", ["a.wav", "shut", "yes_b.wav"]),
        (CONFIG, "a.*", ["a.wav", "shut"]),
        (wanted, "*", ["shut", "yes_b.wav"]),
    ):
        found = sources.open_source(str(tmp_path), config, pattern)
        assert [r.name for r in found.recordings] == names
    named = dataclasses.replace(CONFIG, name_regex=r"^(?P<label>\w+)")
    labels = sources.open_source(str(tmp_path), named).labels
    assert labels == ["a", "yes_b"]
    with pytest.raises(AudioError, match="unreadable: Permission denied"):
        audio.scan(str(tmp_path / "shut"), CONFIG)


def test_a_source_that_is_none(tmp_path):
    touch(tmp_path, "notes.txt")
    with pytest.raises(UserError, match="holds no audio"):
        sources.open_source(str(tmp_path), CONFIG)
    with pytest.raises(UserError, match="does not exist"):
        sources.open_source(str(tmp_path / "missing"), CONFIG)
    with pytest.raises(UserError, match="expected a folder, a manifest"):
        sources.open_source(str(tmp_path / "notes.txt"), CONFIG)
