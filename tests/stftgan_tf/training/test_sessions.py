from pathlib import Path

import pytest

from stftgan_tf.errors import UserError
from stftgan_tf.training import sessions


@pytest.fixture
def run(tmp_path):
    path = tmp_path / "runs" / "digits"
    path.mkdir(parents=True)
    return path


def test_each_session_is_a_row(run, monkeypatch):
    assert sessions.rows(run) == [] and sessions.data_of(run) is None
    sessions.append(run, 0, "data")
    monkeypatch.setenv(sessions.RECORD, "train-1.json")
    sessions.append(run, 300, "data")
    rows = [(row["step"], row["record"]) for row in sessions.rows(run)]
    assert rows == [(0, None), (300, "train-1.json")]


def test_run_and_data_set_may_be_moved_together(run, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    sessions.append(run, 0, str(tmp_path / "data"))
    assert sessions.rows(run)[0]["data"] == "../../data"
    moved = tmp_path.rename(tmp_path.with_name(f"{tmp_path.name}-moved"))
    run = moved / "runs" / "digits"
    assert Path(sessions.data_of(run)) == moved / "data"
    # Below the working directory, the path is as short as a user types it.
    monkeypatch.chdir(moved)
    assert sessions.data_of(run) == "data"


def test_remote_data_set_is_kept_as_it_is(run):
    sessions.append(run, 0, "s3://bucket/data")
    assert sessions.data_of(run) == "s3://bucket/data"


@pytest.mark.parametrize("text", ["{", "7", "[1]"])
def test_damaged_sessions_are_named(run, text):
    (run / sessions.FILE).write_text(text)
    with pytest.raises(UserError, match=r"sessions\.jsonl is damaged"):
        sessions.rows(run)
