import json

import pytest

from pipeline.workflow import history
from stftgan_tf.errors import UserError


@pytest.fixture
def version(make_step, tmp_path):
    """A version, pushed twice by a pipeline of four steps."""
    path = tmp_path / "serving" / "1"
    path.mkdir(parents=True)
    steps = []
    for name in ("preprocess", "train", "export"):
        steps.append(make_step(name, steps[-1:]))
    flags = [f"--print={path}"]
    pushes = [
        make_step("push", steps[-1:], settings, flags) for settings in (1, 2)
    ]
    for step in (*steps, *pushes):
        step.run()
    pushed = {
        "pushed": "2026-01-01T00:00:00+00:00",
        "unblessed": "in a hurry",
        "model": str(steps[-1].output),
    }
    (path / "pushed.json").write_text(json.dumps(pushed))
    return path


def test_the_status_lists_every_record(version, tmp_path):
    header, *rows = history.status(tmp_path / "root").splitlines()
    assert header.split() == ["step", "id", "started", "seconds", "output"]
    names = [row.split()[0] for row in rows]
    assert sorted(names) == ["export", "preprocess", "push", "push", "train"]


def test_the_lineage_shows_each_step_and_its_command(version):
    lines = history.version_lineage(version).splitlines()
    assert lines[0].endswith("  unblessed: in a hurry")
    names = [line.split()[0] for line in lines[1::2]]
    assert names == ["push", "export", "train", "preprocess"]
    assert lines[2].strip().startswith("tests.pipeline.workflow.child --print")


def test_a_version_that_was_pushed_by_hand(version, tmp_path):
    for path in (tmp_path / "root" / "records").glob("push-*"):
        path.unlink()
    lines = history.version_lineage(version).splitlines()
    assert lines[1].split()[0] == "export"
    for path in (tmp_path / "root" / "records").iterdir():
        path.unlink()
    assert "not made by pipeline.run" in history.version_lineage(version)


def test_what_has_no_history(tmp_path):
    with pytest.raises(UserError, match="no step has been completed in"):
        history.status(tmp_path)
    with pytest.raises(UserError, match="is not a pushed version"):
        history.version_lineage(tmp_path)
