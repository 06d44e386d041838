from pathlib import Path

import pytest

from stftgan_tf import run_files
from stftgan_tf.errors import UserError


@pytest.fixture
def run(tmp_path):
    path = tmp_path / "runs" / "digits"
    path.mkdir(parents=True)
    return path


def test_each_session_is_a_row(run, monkeypatch):
    assert run_files.sessions(run) == [] and run_files.data_of(run) is None
    run_files.add_session(run, 0, "data")
    monkeypatch.setenv(run_files.RECORD, "train-1.json")
    run_files.add_session(run, 300, "data")
    rows = [(row["step"], row["record"]) for row in run_files.sessions(run)]
    assert rows == [(0, None), (300, "train-1.json")]


def test_run_and_data_set_may_be_moved_together(run, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    run_files.add_session(run, 0, str(tmp_path / "data"))
    assert run_files.sessions(run)[0]["data"] == "../../data"
    moved = tmp_path.rename(tmp_path.with_name(f"{tmp_path.name}-moved"))
    run = moved / "runs" / "digits"
    assert Path(run_files.data_of(run)) == moved / "data"
    # Below the working directory, the path is as short as a user types it.
    monkeypatch.chdir(moved)
    assert run_files.data_of(run) == "data"


def test_remote_data_set_is_kept_as_it_is(run):
    run_files.add_session(run, 0, "s3://bucket/data")
    assert run_files.data_of(run) == "s3://bucket/data"


@pytest.mark.parametrize("text", ["{", "7", "[1]"])
def test_damaged_sessions_are_named(run, text):
    (run / run_files.SESSIONS).write_text(text)
    with pytest.raises(UserError, match=r"sessions\.jsonl is damaged"):
        run_files.sessions(run)
