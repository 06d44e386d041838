import os

import pytest

from pipeline.audio import reading
from pipeline.audio.errors import AudioError
from pipeline.sources import directory
from stftgan_tf.config import AudioConfig
from stftgan_tf.errors import UserError


def list_names(path):
    files, unreadable = directory.list_files(str(path))
    return sorted(n for _, n in files), [n for _, n in unreadable]


def test_subdirectories_are_searched_and_other_files_ignored(tmp_path, touch):
    touch("z.wav", "b/no_ann.WAV", "b/yes_bob.wav", "b/x.txt")
    names, unreadable = list_names(tmp_path)
    assert names == ["b/no_ann.WAV", "b/yes_bob.wav", "z.wav"]
    assert unreadable == []


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
