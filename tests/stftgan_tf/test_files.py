import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stftgan_tf.errors import UserError
from stftgan_tf.files import (
    DirectoryKind,
    directory_digest,
    locked,
    published_dir,
    remove_leftovers,
    stable_digest,
    write_atomically,
    write_output,
)
from tests.conftest import ROOT

X = DirectoryKind("x", ("x", "new", "sub/*"))


def test_directory_appears_complete_or_not_at_all(tmp_path):
    target = tmp_path / "a" / "b"
    with pytest.raises(ZeroDivisionError):
        with published_dir(target, X) as staging:
            (staging / "x").touch()
            assert not target.exists()
            raise ZeroDivisionError
    assert not list(target.parent.iterdir())
    with published_dir(target, X) as staging:
        (staging / "x").touch()
    assert [p.name for p in target.parent.iterdir()] == ["b"]
    assert (target / "x").exists()


def test_existing_directory_is_replaced_only_with_overwrite(tmp_path):
    target = tmp_path / "a"
    target.mkdir()
    (target / "x").touch()
    with pytest.raises(UserError, match="use --overwrite"):
        with published_dir(target, X):
            pass
    with published_dir(target, X, overwrite=True) as staging:
        (staging / "new").touch()
        assert (target / "x").exists()
    assert [p.name for p in target.iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_directory_of_another_kind_is_never_replaced(tmp_path):
    (tmp_path / "photograph.png").touch()
    with pytest.raises(UserError, match="contains something else"):
        with published_dir(tmp_path, X, overwrite=True):
            pass
    assert [p.name for p in tmp_path.iterdir()] == ["photograph.png"]
    with pytest.raises(UserError, match="is a file; expected a directory"):
        with published_dir(tmp_path / "photograph.png", X, overwrite=True):
            pass


def tree(directory):
    return sorted(str(p.relative_to(directory)) for p in directory.rglob("*"))


@pytest.mark.parametrize(
    "name", ["notes.txt", "sub/deep.txt", "x2", "other/x", "other/sub/a"]
)
def test_file_of_the_user_keeps_a_directory_from_being_replaced(tmp_path, name):
    kind = DirectoryKind("x", ("x", "sub/a*"), "made by us")
    target = tmp_path / "a"
    for ours in ("x", "sub/a1", ".DS_Store", "sub/._a1"):
        (target / ours).parent.mkdir(parents=True, exist_ok=True)
        (target / ours).write_text("made by us")
    with published_dir(target, kind, overwrite=True) as staging:
        for ours in ("x", "sub/a2"):
            (staging / ours).parent.mkdir(exist_ok=True)
            (staging / ours).write_text("made by us")
    (target / name).parent.mkdir(parents=True, exist_ok=True)
    (target / name).write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(UserError, match=f"files of yours .{name}"):
        with published_dir(target, kind, overwrite=True):
            pass
    assert tree(tmp_path) == before


def test_marker_of_something_else_does_not_make_a_directory_ours(tmp_path):
    kind = DirectoryKind(
        "manifest.json", ("manifest.json",), '"format_version"'
    )
    (tmp_path / "manifest.json").write_text('{"name": "my web app"}')
    with pytest.raises(UserError, match="a manifest.json of something else"):
        with published_dir(tmp_path, kind, overwrite=True):
            pass
    (tmp_path / "manifest.json").unlink()
    with published_dir(tmp_path, kind, overwrite=True):
        pass


def test_link_in_a_directory_is_a_file_of_the_user(tmp_path):
    target, photos = tmp_path / "a", tmp_path / "photos"
    photos.mkdir()
    (photos / "b.png").touch()
    target.mkdir()
    (target / "x").touch()
    (target / "sub").symlink_to(photos)
    with pytest.raises(UserError, match="files of yours .sub"):
        with published_dir(target, X, overwrite=True):
            pass
    assert tree(photos) == ["b.png"]


def test_link_to_a_directory_is_kept_and_its_content_replaced(tmp_path):
    disk, link = tmp_path / "disk", tmp_path / "a"
    disk.mkdir()
    (disk / "x").touch()
    link.symlink_to(disk)
    with published_dir(link, X, overwrite=True) as staging:
        (staging / "new").touch()
    assert link.is_symlink() and tree(disk) == ["new"]


def test_output_file_replaces_only_an_earlier_output(tmp_path):
    path = tmp_path / "deep" / "a.json"
    write_output(path, b"first mark", b"mark")
    write_output(path, b"second mark", b"mark")
    with pytest.raises(UserError, match="was not written by this command"):
        write_output(path, b"another", b"other")
    assert path.read_bytes() == b"second mark"
    with pytest.raises(UserError, match="is a directory; expected a file"):
        write_output(tmp_path, b"mark", b"mark")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is not a regular file"):
        write_output(tmp_path / "pipe", b"mark", b"mark")
    # A file that a user has just created with `mktemp` or `touch`.
    path.write_bytes(b"")
    write_output(path, b"mark", b"mark")


@pytest.mark.parametrize("wait", [False, True])
def test_directory_that_cannot_be_written_is_an_error_at_once(wait):
    with pytest.raises(OSError, match="/proc/"):
        if wait:
            with locked(Path("/proc/a.lock")):
                pass
        else:
            with published_dir(Path("/proc/a"), X):
                pass


def test_leftovers_are_removed_and_an_old_target_is_restored(tmp_path):
    target, token = tmp_path / "a", "0123456789abcdef" * 2
    for name in (f".incomplete-a-{token}", f".old-a-{token}"):
        (tmp_path / name).mkdir()
    # Belongs to a job that writes another data set.
    other = tmp_path / f".incomplete-a-b-{token}"
    other.mkdir()
    remove_leftovers(target)
    assert set(tmp_path.iterdir()) == {target, other}
    (tmp_path / f".old-a-{token}").mkdir()
    remove_leftovers(target)
    assert set(tmp_path.iterdir()) == {target, other}


def test_directory_in_progress_is_not_a_leftover(tmp_path):
    target = tmp_path / "a"
    with pytest.raises(UserError, match="a exists"):
        with published_dir(target, X) as first:
            with published_dir(target, X) as second:
                assert first.is_dir() and second != first
                (second / "x").touch()
            (first / "y").touch()
    assert [path.name for path in target.iterdir()] == ["x"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("moment", ["filling", "replacing"])
def test_next_call_cleans_up_after_a_killed_process(tmp_path, moment):
    target = tmp_path / "a"
    target.mkdir()
    (target / "x").write_text("good")
    code = f"""
import os, pathlib, signal
from stftgan_tf.files import DirectoryKind, published_dir

kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
kind = DirectoryKind("x", ("x",))
with published_dir(pathlib.Path({str(target)!r}), kind, True) as staging:
    (staging / "x").write_text("new")
    if {moment == "filling"}:
        kill()
    # The second rename is the one to the final name.
    renames, rename = [], pathlib.Path.rename
    pathlib.Path.rename = lambda *a: kill() if renames else (
        renames.append(rename(*a))
    )
"""
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT)
    assert process.returncode == -signal.SIGKILL
    assert target.exists() is (moment == "filling")
    with pytest.raises(ZeroDivisionError):
        with published_dir(target, X, overwrite=True):
            assert (target / "x").read_text() == "good"
            raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_lock_is_exclusive_in_a_process_and_between_processes(tmp_path):
    path = tmp_path / ".lock"
    code = f"""
import pathlib, sys
from stftgan_tf.files import locked

with locked(pathlib.Path({str(path)!r}), "busy"):
    print("locked", flush=True)
    sys.stdin.read()
"""
    with locked(path, "busy"):
        with pytest.raises(UserError, match="busy"):
            with locked(path, "busy"):
                pass
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(UserError, match="busy"):
            with locked(path, "busy"):
                pass
    finally:
        process.kill()
        process.communicate()
    # The kernel has released the lock of the killed process.
    with locked(path, "busy"):
        pass
    assert path.exists()


def test_lock_without_a_message_waits_for_the_other_holder(tmp_path):
    path, events = tmp_path / ".lock", []

    def wait_for_the_lock():
        with locked(path):
            events.append("second")

    with locked(path, remove=True):
        thread = threading.Thread(target=wait_for_the_lock)
        thread.start()
        thread.join(0.1)
        events.append("first")
    thread.join()
    assert events == ["first", "second"]


def test_removed_lock_file_excludes_as_well(tmp_path):
    path = tmp_path / ".lock"
    for _ in range(2):
        with locked(path, "busy", remove=True):
            with pytest.raises(UserError, match="busy"):
                with locked(path, "busy"):
                    pass
        assert not path.exists()


def test_digest_depends_on_names_and_bytes_and_must_be_stable(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    digest = directory_digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert directory_digest(tmp_path) != digest
    (tmp_path / "b").rename(tmp_path / "a")
    with stable_digest(tmp_path) as stable:
        assert stable == digest
    with pytest.raises(UserError, match="changed by another process"):
        with stable_digest(tmp_path):
            (tmp_path / "a").write_bytes(b"2")


def test_file_is_never_half_written(tmp_path):
    path = tmp_path / "a"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "not bytes")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
