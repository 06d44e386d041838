import pytest

from pipeline import sources
from stftgan_tf.cli import UserError
from stftgan_tf.config import AudioConfig
from stftgan_tf.example_io import UNKNOWN_LABEL

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


def test_a_manifest_names_files_labels_and_speakers(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("file,label,speaker\nb/2.wav,two,bob\n1.wav,,\n")
    found = sources.open_source(str(path), CONFIG)
    facts = [(r.path, r.name, r.label, r.speaker) for r in found.recordings]
    assert facts == [
        (str(tmp_path / "1.wav"), "1.wav", UNKNOWN_LABEL, ""),
        (str(tmp_path / "b/2.wav"), "b/2.wav", 0, "bob"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.wav,x\n", "has the columns path, label; expected file"),
        ("file,label\n", "names no file"),
        ("", "has the columns none"),
    ],
)
def test_a_manifest_that_cannot_be_used(tmp_path, text, message):
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        sources.open_source(str(path), CONFIG)


def test_a_source_that_is_none(tmp_path):
    touch(tmp_path, "notes.txt")
    with pytest.raises(UserError, match="holds no audio"):
        sources.open_source(str(tmp_path), CONFIG)
    with pytest.raises(UserError, match="does not exist"):
        sources.open_source(str(tmp_path / "missing"), CONFIG)
    with pytest.raises(UserError, match="expected a folder, a manifest"):
        sources.open_source(str(tmp_path / "notes.txt"), CONFIG)
