import time

import pytest

from stftgan_tf.progress import Progress, clock


@pytest.mark.parametrize(
    ("secs", "text"),
    [(0, "00:00"), (61.9, "01:01"), (3725, "1:02:05"), (float("inf"), "--:--")],
)
def test_clock(secs, text):
    assert clock(secs) == text


def test_progress_prints_count_rate_and_remaining_time(capsys, monkeypatch):
    times = iter([0.0, 20.0, 21.0, 30.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(times))
    progress = Progress("write", 100, "files")
    progress.update(40)
    progress.update(41)  # too soon after the last line
    progress.close(100)
    assert capsys.readouterr().err.splitlines() == [
        "write: 40/100 files, 2/s, ETA 00:30",
        "write: 100 files in 30.0 s",
    ]


@pytest.mark.parametrize(
    ("done", "rate"), [(5, "0.25/s"), (250, "12/s"), (24690, "1234/s")]
)
def test_progress_prints_slow_and_fast_rates(capsys, monkeypatch, done, rate):
    times = iter([0.0, 20.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(times))
    Progress("write", 100000, "files").update(done)
    assert rate in capsys.readouterr().err
