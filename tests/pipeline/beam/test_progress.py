import time

from pipeline.beam import progress


def test_ticks_add_up_over_writers(tmp_path):
    for _ in range(3):
        progress.Ticks(str(tmp_path)).add("written", 4)
    assert progress.Ticks(str(tmp_path)).read("written") == 12
    assert progress.Ticks(str(tmp_path)).read("planned") == 0


def test_without_a_directory_nothing_is_counted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    progress.Ticks(None).add("written", 1)
    assert not list(tmp_path.iterdir())


def test_planning_and_writing_are_shown(tmp_path, capsys):
    ticks = progress.Ticks(str(tmp_path))
    with progress.shown(ticks, 2):
        ticks.add("segments", 3)
        ticks.add("planned", 2)
        time.sleep(0.5)
        ticks.add("written", 3)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("plan: 2 recordings in ")
    assert lines[1].startswith("write: 3 segments in ")
