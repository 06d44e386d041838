import signal
import subprocess
import sys
import threading

import pytest

from stftgan_tf.errors import UserError
from stftgan_tf.files import (
    directory_digest,
    locked,
    published_dir,
    remove_leftovers,
    stable_digest,
    write_atomically,
)
from tests.conftest import ROOT


def test_directory_appears_complete_or_not_at_all(tmp_path):
    target = tmp_path / "a" / "b"
    with pytest.raises(ZeroDivisionError):
        with published_dir(target, "x") as staging:
            (staging / "x").touch()
            assert not target.exists()
            raise ZeroDivisionError
    assert not list(target.parent.iterdir())
    with published_dir(target, "x") as staging:
        (staging / "x").touch()
    assert [p.name for p in target.parent.iterdir()] == ["b"]
    assert (target / "x").exists()


def test_existing_directory_is_replaced_only_with_overwrite(tmp_path):
    target = tmp_path / "a"
    target.mkdir()
    (target / "marker").touch()
    with pytest.raises(UserError, match="use --overwrite"):
        with published_dir(target, "marker"):
            pass
    with published_dir(target, "marker", overwrite=True) as staging:
        (staging / "new").touch()
        assert (target / "marker").exists()
    assert [p.name for p in target.iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_directory_of_another_kind_is_never_replaced(tmp_path):
    (tmp_path / "photograph.png").touch()
    with pytest.raises(UserError, match="contains something else"):
        with published_dir(tmp_path, "manifest.json", overwrite=True):
            pass
    assert [p.name for p in tmp_path.iterdir()] == ["photograph.png"]
    with pytest.raises(UserError, match="is a file; expected a directory"):
        with published_dir(tmp_path / "photograph.png", "x", overwrite=True):
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
        with published_dir(target, "x") as first:
            with published_dir(target, "x") as second:
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
from stftgan_tf.files import published_dir

kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
with published_dir(pathlib.Path({str(target)!r}), "x", True) as staging:
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
        with published_dir(target, "x", overwrite=True):
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
