import types

import pytest

from stftgan_tf import progress as progress_lib
from stftgan_tf.progress import Progress, clock


@pytest.fixture
def set_times(monkeypatch):
    """Sets what the clock shows to the progress line, and to nothing else."""

    def set_times(*times):
        shown = iter(times)
        fake = types.SimpleNamespace(monotonic=lambda: next(shown))
        monkeypatch.setattr(progress_lib, "time", fake)

    return set_times


@pytest.mark.parametrize(
    ("secs", "text"),
    [(0, "00:00"), (61.9, "01:01"), (3725, "1:02:05"), (float("inf"), "--:--")],
)
def test_clock(secs, text):
    assert clock(secs) == text


def test_progress_prints_count_rate_and_remaining_time(capsys, set_times):
    set_times(0.0, 20.0, 21.0, 30.0)
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
def test_progress_prints_slow_and_fast_rates(capsys, set_times, done, rate):
    set_times(0.0, 20.0)
    Progress("write", 100000, "files").update(done)
    assert rate in capsys.readouterr().err
