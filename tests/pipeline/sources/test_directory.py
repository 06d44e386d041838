import os

import pytest

from pipeline.audio import reading
from pipeline.audio.containers import formats
from pipeline.audio.errors import AudioError
from pipeline.sources import directory
from stftgan_tf.config import AudioConfig
from stftgan_tf.errors import UserError


def list_names(path):
    listing = directory.list_files(str(path))
    names = sorted(name for _, name in listing.files)
    return names, [name for _, name in listing.unreadable]


def test_subdirectories_are_searched_and_other_files_ignored(tmp_path, touch):
    touch("z.wav", "b/no_ann.WAV", "b/yes_bob.wav", "b/x.txt")
    names, unreadable = list_names(tmp_path)
    assert names == ["b/no_ann.WAV", "b/yes_bob.wav", "z.wav"]
    assert unreadable == []


def test_files_that_are_no_recordings_are_counted_by_kind(tmp_path, touch):
    touch(
        "a.wav",
        "._a.wav",
        ".b.wav",
        ".cache/x/c.flac",
        ".cache/notes.txt",
        "__MACOSX/sub/._a.wav",
        "__MACOSX/a.wav",
        "d/.ipynb_checkpoints/e-checkpoint.wav",
        "@eaDir/a.wav/SYNOAUDIO.mp3",
        "#recycle/deleted.wav",
        "d/f.txt",
        "g.TXT",
        "README",
        ".DS_Store",
    )
    listing = directory.list_files(str(tmp_path))
    assert [name for _, name in listing.files] == ["a.wav"]
    assert listing.left_out == {
        "._*": 1,
        "hidden": 2,
        "__MACOSX": 2,
        ".ipynb_checkpoints": 1,
        "@eaDir": 1,
        "#recycle": 1,
        ".txt": 2,
        "without extension": 1,
    }
    line = directory.describe_left_out(listing.left_out)
    assert line.startswith("left out 11 files: 2 .txt, 2 __MACOSX, 2 hidden, 1")
    # The source itself may be hidden.
    hidden = directory.list_files(str(tmp_path / ".cache"))
    assert [name for _, name in hidden.files] == ["x/c.flac"]


@pytest.mark.parametrize("has_av", [True, False])
def test_containers_of_video_are_read_where_pyav_is_installed(
    tmp_path, touch, monkeypatch, has_av
):
    monkeypatch.setattr(formats, "has_av", lambda: has_av)
    touch("a.wav", "b.M4A", "c.m4a", "d.webm", "e.txt")
    listing = directory.list_files(str(tmp_path))
    line = directory.describe_left_out(listing.left_out)
    if has_av:
        assert len(listing.files) == 4
        assert line == "left out 1 file: 1 .txt"
    else:
        assert len(listing.files) == 1
        assert line == (
            "left out 4 files: 2 .m4a, 1 .txt, 1 .webm; "
            "to read .m4a .webm: pip install '.[av]'"
        )


def test_remote_files_are_filtered_in_the_same_way(monkeypatch):
    names = ["a.wav", "b/._c.wav", "__MACOSX/b/d.wav", ".e/f.wav", "g.txt"]
    monkeypatch.setattr(directory.remote, "list_files", lambda _: iter(names))
    listing = directory.list_files("s3://speech")
    assert listing.files == [("s3://speech/a.wav", "a.wav")]
    assert listing.left_out == {
        "._*": 1,
        "__MACOSX": 1,
        "hidden": 1,
        ".txt": 1,
    }


def test_links_are_followed_but_not_forever(tmp_path, touch):
    touch("in/a.wav", "elsewhere/b.wav")
    root = tmp_path / "in"
    (root / "loop").symlink_to(root)
    (root / "more").symlink_to(tmp_path / "elsewhere")
    (root / "self.wav").symlink_to("self.wav")
    names, _ = list_names(root)
    assert names == ["a.wav", "more/b.wav", "self.wav"]


def test_a_directory_named_like_audio_is_listed_and_searched(tmp_path, touch):
    touch("x.wav/a.wav")
    assert list_names(tmp_path)[0] == ["x.wav", "x.wav/a.wav"]


@pytest.fixture
def locked(tmp_path, touch, monkeypatch):
    """A directory that cannot be read, even if the tests run as root."""
    touch("locked/b.wav")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    return tmp_path / "locked"


def test_an_unreadable_directory_is_listed(tmp_path, touch, locked):
    touch("a.wav")
    assert list_names(tmp_path) == (["a.wav"], ["locked"])
    with pytest.raises(AudioError, match="unreadable: Permission denied"):
        reading.measure(str(locked), AudioConfig(sample_rate_hz=8000))


def test_not_a_directory(tmp_path, touch):
    touch("notes.txt")
    with pytest.raises(UserError, match="missing does not exist"):
        directory.list_files(str(tmp_path / "missing"))
    with pytest.raises(UserError, match="expected a directory, a manifest"):
        directory.list_files(str(tmp_path / "notes.txt"))


def test_an_unknown_file_system():
    with pytest.raises(UserError, match="source odd://x/y: "):
        directory.list_files("odd://x/y")
