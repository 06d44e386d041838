import json

import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf import config as config_lib
from stftgan_tf.errors import UserError
from stftgan_tf.metrics import registry
from stftgan_tf.models.build import build_wgan
from stftgan_tf.training.budget import Budget
from stftgan_tf.training.limits import Limits
from stftgan_tf.training.probe import probe_of
from stftgan_tf.training.reporter import Reporter
from stftgan_tf.training.saver import Saver
from stftgan_tf.training.watch import Watch
from tests.stftgan_tf.training import runs

HEALTHY = {metric.name: 0.0 for metric in registry.WATCH}
HEALTHY |= {"variety": 1.0, "frechet": 5.0}


class ScriptedMeter:
    """A meter whose metrics a test chooses."""

    def __init__(self):
        self.metrics = HEALTHY
        # If not None, Frechet distances are those from these windows.
        self.data = None

    def measure(self, windows):
        assert windows.shape == (64, 16, 32)
        return {**self.metrics, "frechet": self.frechet(windows)}

    def frechet(self, windows):
        if self.data is None:
            return self.metrics["frechet"]
        return float(np.square(windows - self.data).mean())


class Watching:
    """A watch, its meter and its saver."""

    def __init__(self, run, *overrides):
        config = config_lib.load("tiny", ["watch.patience=2", *overrides])
        self.meter = ScriptedMeter()
        self._budget = Budget(0, 0.0, Limits(100))
        writer = tf.summary.create_file_writer(str(run / "tensorboard"))
        self.probe = probe_of(config, None, config.watch.windows)
        self.watch = Watch(
            config,
            self._budget,
            Reporter(run, config, self._budget, writer),
            self.meter,
            self.probe,
        )
        self.saver = Saver(run, config, self._budget, self.watch)
        self.model = build_wgan(config)
        for callback in (self._budget, self.watch, self.saver):
            callback.set_model(self.model)

    def end_step(self, step, **metrics):
        """Ends a step at which the meter measures these values."""
        self.meter.metrics = HEALTHY | metrics
        self._budget.step = step
        self.watch.on_train_batch_end(0)
        return self.watch


@pytest.mark.parametrize(
    ("width", "expected"), [(0.8, 1.0), (1.15, 1.15), (1.2, 1.2), (1.6, 1.3)]
)
def test_the_width_of_latents_whose_windows_are_nearest_to_the_data(
    tmp_path, width, expected
):
    watching = Watching(tmp_path)
    data = watching.probe.scaled(width).windows(watching.model.ema_generator)
    watching.meter.data = data
    watch = watching.end_step(10)
    scale = watch.state.metrics["latent_scale"]
    assert scale == pytest.approx(expected, abs=0.01)
    (row,) = runs.measurements(tmp_path)
    assert row["watch/latent_scale"] == scale


def test_a_collapse_stops_the_training(tmp_path):
    watching = Watching(tmp_path, "watch.on_collapse=stop")
    watch = watching.end_step(10, variety=0.0)
    assert watch.state.alarms == 1 and watch.state.best_frechet is None
    message = "collapsed: 2 measurements in a row below 0.5 .* at step 20"
    with pytest.raises(UserError, match=message):
        watching.end_step(20, variety=0.4)


def test_a_collapse_may_only_be_logged(tmp_path, caplog):
    watching = Watching(tmp_path, "watch.on_collapse=warn")
    with caplog.at_level("INFO", logger="stftgan_tf"):
        for step in (10, 20):
            watching.end_step(step, variety=0.0)
    assert "ALARM 2/2" in caplog.text
    assert "variety collapsed: 2 measurements in a row" in caplog.text
    assert [row["watch/variety"] for row in runs.measurements(tmp_path)] == [
        0.0,
        0.0,
    ]
    assert not watching.model.stop_training


EARLY, ALARM = "variety is still building up", "ALARM"


@pytest.mark.parametrize(
    ("varieties", "verdicts"),
    [
        # The first minute of a good training.
        ((0.0, 0.43, 0.8), [f"{EARLY} 1/3", f"{EARLY} 2/3", "best so far"]),
        # A collapse after a good start.
        ((0.8, 0.2, 0.1), ["best so far", f"{ALARM} 1/3", f"{ALARM} 2/3"]),
        ((0.4, 0.8, 0.2), [f"{EARLY} 1/3", "best so far", f"{ALARM} 1/3"]),
        # A training that never varies.
        ((0.1, 0.1, 0.1), [f"{EARLY} 1/3", f"{EARLY} 2/3", f"{ALARM} 3/3"]),
    ],
)
def test_low_variety_is_an_alarm_only_once_it_has_built_up(
    tmp_path, caplog, varieties, verdicts
):
    watching = Watching(tmp_path, "watch.patience=3", "watch.on_collapse=warn")
    for step, (variety, verdict) in enumerate(
        zip(varieties, verdicts, strict=True), 1
    ):
        with caplog.at_level("INFO", logger="stftgan_tf"):
            watch = watching.end_step(10 * step, variety=variety)
        (line,) = [m for m in caplog.messages if f"step {10 * step}  w" in m]
        assert line.endswith(f"  {verdict}")
        # A window without variety is never exported as the best.
        assert watch.is_best == (verdict == "best so far")


@pytest.mark.parametrize("first", [0.8, 0.1])
def test_a_collapse_from_the_start_stops_as_any_other(tmp_path, first):
    watching = Watching(tmp_path, "watch.patience=3", "watch.on_collapse=stop")
    watching.end_step(10, variety=first)
    watching.end_step(20, variety=0.1)
    if first < 0.5:
        with pytest.raises(UserError, match="3 measurements in a row below"):
            watching.end_step(30, variety=0.1)
    else:
        watching.end_step(30, variety=0.1)
        with pytest.raises(UserError, match="3 measurements in a row below"):
            watching.end_step(40, variety=0.1)


def test_alarms_that_are_not_in_a_row_are_not_a_collapse(tmp_path):
    watching = Watching(tmp_path, "watch.on_collapse=stop")
    for step, variety in ((10, 0.0), (20, 1.0), (30, 0.0)):
        watch = watching.end_step(step, variety=variety)
    assert watch.state.alarms == 1


def test_it_measures_every_so_many_steps(tmp_path):
    watch = Watching(tmp_path).end_step(7)
    assert watch.state.step is None


def test_a_model_that_is_not_finite_is_reported_before_it_is_measured(tmp_path):
    watching = Watching(tmp_path)
    watching.model.first_bad_step.assign(7)
    with pytest.raises(UserError, match="not finite at step 7"):
        watching.end_step(10)


@pytest.mark.parametrize(
    ("distances", "best"),
    [
        ((5.0, 3.0, 4.0), 20),
        # A tie goes to the later step, but a series of ties cannot drift up.
        ((5.0, 3.0, 3.05), 30),
        ((3.0, 3.06, 3.12), 20),
    ],
)
def test_the_best_has_the_lowest_frechet_distance(tmp_path, distances, best):
    watching = Watching(tmp_path)
    for step, distance in zip((10, 20, 30), distances, strict=True):
        watching.end_step(step, frechet=distance)
        watching.saver.save_best()
    (path,) = (tmp_path / "checkpoints").glob("best-*")
    assert path.name == f"best-000000{best}"
    stored = json.loads((path / "state.json").read_text())["watch"]
    assert stored["step"] == best


def test_what_copies_training_windows_or_raises_an_alarm_is_never_the_best(
    tmp_path,
):
    watching = Watching(tmp_path)
    assert not watching.end_step(10, memorised=0.1).is_best
    assert not watching.end_step(20, variety=0.4).is_best
    assert watching.end_step(30, memorised=0.05).is_best


def test_copies_of_training_windows_are_an_alarm(tmp_path, caplog):
    watching = Watching(tmp_path)
    with caplog.at_level("INFO", logger="stftgan_tf"):
        watching.end_step(10, memorised=0.12)
        watching.end_step(20, memorised=0.04)
        watching.end_step(30, memorised=0.12, variety=0.1)
    lines = [m for m in caplog.messages if "  watch  " in m]
    first, second, third = lines
    assert "ALARM 1/2  ALARM 12% copies" in third
    assert first.endswith(
        "ALARM 12% copies of training windows: use more recordings, or stop "
        "earlier"
    )
    assert "ALARM" not in second


def test_a_value_that_is_not_finite_is_never_saved(tmp_path):
    watching = Watching(tmp_path)
    windows = tf.fill([8, 16, 32], float("inf"))
    watching.model.train_step((windows, tf.zeros([8], tf.int64)))
    with pytest.raises(UserError, match="not finite at step 0"):
        watching.end_step(4)
        watching.saver.save()
    assert not list(tmp_path.rglob("step-*"))
