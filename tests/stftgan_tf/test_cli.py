import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stftgan_tf import cli
from stftgan_tf.config import ConfigError
from stftgan_tf.errors import UsageError, UserError
from stftgan_tf.files import (
    held,
    published_dir,
    remove_leftovers,
    write_atomically,
)
from stftgan_tf.progress import Progress, clock
from tests.conftest import ROOT


def fail(error):
    raise error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("a b"), 2),
        (UsageError("a b"), 2),
        (UserError("a\n  b"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_expected_failures_are_one_line_and_a_code(capsys, error, code):
    assert cli.run_command(fail, error) == code
    assert capsys.readouterr().err in ("error: a b\n", "error: interrupted\n")


def test_an_error_of_the_system_names_the_file(capsys):
    assert cli.run_command(open, "/nowhere/at/all") == 1
    wanted = "error: /nowhere/at/all: No such file or directory\n"
    assert capsys.readouterr().err == wanted


def test_what_must_be_here_is_not_taken_for_a_folder(capsys):
    parser = cli.parser(None, "")
    parser.add_argument("--run", type=cli.local_path)
    assert parser.parse_args(["--run=a/b"]).run == Path("a/b")
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--run=s3://a/b"])
    assert ended.value.code == 2
    assert "s3://a/b is remote; expected" in capsys.readouterr().err


def test_what_nobody_expects_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        cli.run_command(lambda: 1 // 0)


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "a" / "b"
    with pytest.raises(ZeroDivisionError):
        with published_dir(target, "x") as staging:
            (staging / "x").touch()
            assert not target.exists()
            fail(ZeroDivisionError())
    assert not list(target.parent.iterdir())
    with published_dir(target, "x") as staging:
        (staging / "x").touch()
    assert [p.name for p in target.parent.iterdir()] == ["b"]
    assert (target / "x").exists()


def test_an_existing_folder_is_replaced_only_on_demand(tmp_path):
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


def test_leftovers_go_and_what_was_moved_away_comes_back(tmp_path):
    target, token = tmp_path / "a", "0123456789abcdef" * 2
    for name in (f".incomplete-a-{token}", f".old-a-{token}"):
        (tmp_path / name).mkdir()
    # Of a job that writes another data set.
    other = tmp_path / f".incomplete-a-b-{token}"
    other.mkdir()
    remove_leftovers(target)
    assert set(tmp_path.iterdir()) == {target, other}
    (tmp_path / f".old-a-{token}").mkdir()
    remove_leftovers(target)
    assert set(tmp_path.iterdir()) == {target, other}


def test_what_somebody_is_at_work_on_is_not_left_over(tmp_path):
    target = tmp_path / "a"
    with pytest.raises(UserError, match="a exists"):
        with published_dir(target, "x") as ours:
            with published_dir(target, "x") as theirs:
                assert ours.is_dir() and theirs != ours
                (theirs / "x").touch()
            (ours / "y").touch()
    assert [path.name for path in target.iterdir()] == ["x"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("moment", ["filling", "replacing"])
def test_the_next_one_tidies_up_after_one_that_was_killed(tmp_path, moment):
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
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert target.exists() is (moment == "filling")
    with pytest.raises(ZeroDivisionError):
        with published_dir(target, "x", overwrite=True):
            assert (target / "x").read_text() == "good"
            fail(ZeroDivisionError())
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "Graph execution error:\n\nDetected at node X defined at (most\n"
            '  File "x.py", line 1\n\n/a.rec; No such file\n\t [[{{node X}}]]',
            "/a.rec; No such file",
        ),
        (
            "Graph execution error:\n\nOOM when allocating tensor\n\t [[X]]\n"
            "Hint: If you want to see a list of allocated tensors\n",
            "OOM when allocating tensor",
        ),
        (
            "2 root error(s) found.\n  (0) INTERNAL:  no space\n\t [[X]]\n"
            "  (1) INTERNAL:  no space\n0 successful operations.\n"
            "0 derived errors ignored. [Op:X]",
            "INTERNAL:  no space",
        ),
    ],
)
def test_of_tensorflows_errors_the_reason_is_told(text, reason):
    assert cli._tensorflow_reason(text) == reason


def test_a_lock_is_held_by_one(tmp_path):
    with held(tmp_path / ".lock", "mine"):
        with pytest.raises(UserError, match="mine"):
            with held(tmp_path / ".lock", "mine"):
                pass
    with held(tmp_path / ".lock", "mine"):
        pass


def test_a_folder_of_another_kind_is_never_replaced(tmp_path):
    (tmp_path / "photograph.png").touch()
    with pytest.raises(UserError, match="holds something else"):
        with published_dir(tmp_path, "manifest.json", overwrite=True):
            pass
    assert [p.name for p in tmp_path.iterdir()] == ["photograph.png"]


def test_a_file_is_never_half_written(tmp_path, monkeypatch):
    path = tmp_path / "a"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "no bytes")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("secs", "text"),
    [(0, "00:00"), (61.9, "01:01"), (3725, "1:02:05"), (float("inf"), "--:--")],
)
def test_clock(secs, text):
    assert clock(secs) == text


def test_progress_says_how_far_and_how_long(capsys, monkeypatch):
    now = iter([0.0, 20.0, 21.0, 30.0])
    monkeypatch.setattr(cli.time, "monotonic", lambda: next(now))
    progress = Progress("write", 100, "files")
    progress.update(40)
    progress.update(41)  # too soon after the last one
    progress.close(100)
    assert capsys.readouterr().err.splitlines() == [
        "write: 40/100 files, 2/s, ETA 00:30",
        "write: 100 files in 30.0 s",
    ]


@pytest.mark.parametrize(
    ("done", "said"), [(5, "0.25/s"), (250, "12/s"), (24690, "1234/s")]
)
def test_slow_progress_has_a_rate_too(capsys, monkeypatch, done, said):
    now = iter([0.0, 20.0])
    monkeypatch.setattr(cli.time, "monotonic", lambda: next(now))
    Progress("write", 100000, "files").update(done)
    assert said in capsys.readouterr().err
