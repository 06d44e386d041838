import json

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from stftgan_tf import config as config_lib
from stftgan_tf import train
from stftgan_tf.dsp import features
from stftgan_tf.errors import UserError
from stftgan_tf.metrics import embedding
from stftgan_tf.training import callbacks


def watching(config, bounds, run, times=1):
    """A watch over random windows, with a report in `run`."""
    rng = np.random.default_rng(0)
    real = np.float32(rng.uniform(-1, 1, (200, 16, 32)))
    real = np.tile(real, (times, 1, 1))
    ones = np.ones(32, np.float32)
    space = embedding.fit(real, features.Moments(0 * ones, ones), config)
    writer = tf.summary.create_file_writer(str(run / "tensorboard"))
    report = callbacks.Report(run, config, bounds, writer)
    latents = [tf.random.stateless_normal([64, 8], [0, 0])]
    watch = callbacks.Watch(config, bounds, report, space, real, latents)
    watch.set_model(train.build(config))
    return watch


def look(watch, bounds, step):
    bounds.step = step
    watch.on_train_batch_end(0)


def rows(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_metrics_have_a_row_every_log_every(trained):
    found = [row for row in rows(trained) if "critic_loss" in row]
    assert [row["step"] for row in found] == [5, 10, 15, 20]
    for row in found:
        assert {
            "step",
            "secs",
            "critic_loss",
            "generator_loss",
            "penalty",
            "augment_p",
            "critic_gradient_norm",
            "generator_gradient_norm",
            "windows_per_sec",
        } == set(row)
        assert all(np.isfinite(value) for value in row.values())
        assert row["windows_per_sec"] > 0


def test_variety_has_a_row_every_watch(trained):
    found = [row for row in rows(trained) if "variety" in row]
    assert [row["step"] for row in found] == [10, 20]
    for row in found:
        assert row["variety"] == min(
            row["diversity_ratio"], row["nearest_ratio"]
        )
        assert {
            "ndb",
            "jensen_shannon",
            "precision",
            "recall",
            "density",
            "coverage",
            "nearest_self",
            "nearest_train",
            "memorised",
            "consistency",
            "frechet",
        } < set(row)


def test_seconds_grow(trained):
    secs = [row["secs"] for row in rows(trained)]
    assert secs == sorted(secs) and secs[0] > 0


def test_previews_are_pictures_and_audio(trained, tiny):
    names = sorted(p.name for p in (trained / "samples").iterdir())
    assert names == [
        f"step-000000{step}.{kind}"
        for step in (10, 20)
        for kind in ("png", "wav")
    ]
    samples, rate = soundfile.read(trained / "samples" / "step-00000020.wav")
    assert rate == 8000
    assert len(samples) == 16 * tiny.window_samples
    assert 0 < np.abs(samples).max() < 1


def test_tensorboard_has_scalars_pictures_and_audio(trained):
    (path,) = (trained / "tensorboard").iterdir()
    tags = {
        value.tag.split("/")[0]
        for event in tf.data.TFRecordDataset(str(path))
        for value in tf.compat.v1.Event.FromString(event.numpy()).summary.value
    }
    assert {"critic_loss", "variety", "frechet", "windows", "audio"} <= tags


def test_the_log_says_what_jit_compile_became(trained):
    text = (trained / "log.txt").read_text()
    assert "jit_compile auto became" in text
    assert "variety" in text and "ETA" in text and "windows/s" in text


def test_bounds_count_what_came_before(tiny):
    bounds = callbacks.Budget(step=7, secs=60.0, steps=10, minutes=1.0)
    bounds.set_model(train.build(tiny))
    assert 60 <= bounds.secs < 90
    bounds.on_train_batch_end(0)
    assert bounds.step == 8
    assert bounds.model.stop_training
    assert bounds.stopped_by == "1 minutes are over"
    assert bounds.eta_secs() == 0.0


def test_eta_is_of_the_nearer_bound(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now[0])
    by_steps = callbacks.Budget(step=10, secs=50.0, steps=40, minutes=None)
    by_time = callbacks.Budget(step=10, secs=50.0, steps=40, minutes=1.0)
    assert by_steps.eta_secs() == float("inf")
    now[0] += 5.0
    by_steps.step = by_time.step = 20
    assert by_steps.eta_secs() == pytest.approx(10.0)
    assert by_time.eta_secs() == pytest.approx(5.0)


def test_what_is_not_finite_is_never_saved(tiny, tmp_path):
    model = train.build(tiny)
    bad = tf.fill([8, 16, 32], float("inf"))
    model.train_step((bad, tf.zeros([8], tf.int64)))
    bounds = callbacks.Budget(step=3, secs=0.0, steps=9, minutes=None)
    saver = callbacks.Checkpoints(
        tmp_path, tiny, bounds, watching(tiny, bounds, tmp_path)
    )
    saver.set_model(model)
    bounds.step = 4
    with pytest.raises(UserError, match="not finite at step 0"):
        saver.save()
    assert not list(tmp_path.rglob("step-*"))


def test_going_back_takes_previews_and_the_pace_along(tiny, tmp_path):
    bounds = callbacks.Budget(step=30, secs=0.0, steps=40, minutes=None)
    folder = tmp_path / "samples"
    folder.mkdir()
    for step in (10, 20):
        for kind in ("png", "wav"):
            (folder / f"step-{step:08d}.{kind}").touch()
    ones = features.Moments(np.zeros(32), np.ones(32))
    preview = callbacks.Preview(tmp_path, tiny, bounds, None, ones, [])
    bounds.step = 10
    preview.go_back()
    assert {p.name for p in folder.iterdir()} == {
        "step-00000010.png",
        "step-00000010.wav",
    }
    bounds.go_back()
    assert bounds.eta_secs() == float("inf")
    bounds.step = 11
    assert bounds.eta_secs() > 0


@pytest.fixture
def watched(tmp_path):
    """Makes a watch with its bounds; its generator is collapsed at first."""

    def make(*overrides):
        config = config_lib.load("tiny", ["watch.patience=2", *overrides])
        bounds = callbacks.Budget(0, 0.0, 100, None)
        watch = watching(config, bounds, tmp_path)
        for weight in watch.model.ema_generator.weights:
            weight.assign(tf.zeros_like(weight))
        return watch, bounds

    return make


def test_a_constant_generator_raises_the_alarm(watched, tmp_path, caplog):
    watch, bounds = watched("watch.on_collapse=warn")
    with caplog.at_level("INFO", logger="stftgan_tf"):
        look(watch, bounds, 10)
        assert watch.state["alarms"] == 1 and not watch.collapsed
        look(watch, bounds, 20)
    assert "ALARM 2" in caplog.text
    assert "variety collapsed: 2 watches in a row" in caplog.text
    assert rows(tmp_path)[0]["variety"] == 0
    assert watch.state["best_frechet"] is None
    assert not watch.model.stop_training


def test_a_collapse_stops_the_training(watched):
    watch, bounds = watched("watch.on_collapse=stop")
    look(watch, bounds, 10)
    with pytest.raises(UserError, match="variety collapsed: 2 watches"):
        look(watch, bounds, 20)


def test_a_collapse_asks_for_a_rollback_so_many_times(watched):
    watch, bounds = watched(
        "watch.on_collapse=rollback", "watch.max_rollbacks=1"
    )
    look(watch, bounds, 10)
    look(watch, bounds, 20)
    assert watch.collapsed and watch.model.stop_training
    watch.state["rollbacks"] = 1
    with pytest.raises(UserError, match="rolled back 1 times"):
        look(watch, bounds, 30)


def test_alarms_that_are_not_in_a_row_are_no_collapse(watched):
    watch, bounds = watched("watch.on_collapse=stop")
    measure = watch.measure
    for step, variety in ((10, 0.0), (20, 1.0), (30, 0.0)):
        watch.measure = lambda windows, variety=variety: (
            measure(windows) | {"variety": variety}
        )
        look(watch, bounds, step)
    assert watch.state["alarms"] == 1


def test_a_model_that_is_not_finite_is_told_of_before_it_is_watched(watched):
    watch, bounds = watched()
    watch.model.first_bad_step.assign(7)
    for weight in watch.model.ema_generator.weights:
        weight.assign(tf.fill(weight.shape, float("nan")))
    with pytest.raises(UserError, match="not finite at step 7"):
        look(watch, bounds, 10)


def test_the_same_step_after_a_rollback_is_another_best(watched, tmp_path):
    watch, bounds = watched("watch.min_variety=0.0")
    saver = callbacks.Checkpoints(tmp_path, watch._config, bounds, watch)
    saver.set_model(watch.model)
    measure = watch.measure
    for rollbacks, found in ((0, 5.0), (1, 3.0), (2, 9.0)):
        watch.model.rollbacks.assign(rollbacks)
        watch.measure = lambda windows, found=found: (
            measure(windows) | {"frechet": found}
        )
        look(watch, bounds, 10)
        saver.on_train_batch_end(0)
    (best,) = (tmp_path / "checkpoints").glob("best-*")
    assert best.name == "best-00000010-r1"
    state = json.loads((best / "state.json").read_text())
    assert state["watch"]["seen"]["frechet"] == 3.0


def test_four_repeated_windows_are_an_alarm_and_real_ones_are_none(watched):
    watch, _ = watched()
    rng = np.random.default_rng(0)
    real = np.float32(rng.uniform(-1, 1, (200, 16, 32)))[50:114]
    healthy = watch.measure(real)
    assert healthy["variety"] > 0.9 and healthy["coverage"] > 0.3
    # They are training windows, all of them.
    assert healthy["memorised"] == 1.0
    four = watch.measure(np.repeat(real[:4], 16, axis=0))
    assert four["variety"] < 0.01 < 0.5 < four["diversity_ratio"]


@pytest.mark.parametrize(
    ("distances", "best"),
    [
        ((5.0, 3.0, 4.0), 20),
        # Of equals the later one, and what is equal does not creep up.
        ((5.0, 3.0, 3.05), 30),
        ((3.0, 3.06, 3.12), 20),
    ],
)
def test_the_best_is_the_healthy_one_nearest_to_the_data(
    watched, tmp_path, distances, best
):
    watch, bounds = watched("watch.min_variety=0.0")
    saver = callbacks.Checkpoints(tmp_path, watch._config, bounds, watch)
    saver.set_model(watch.model)
    measure = watch.measure
    for step, found in zip((10, 20, 30), distances, strict=True):
        watch.measure = lambda windows, found=found: (
            measure(windows) | {"variety": 1.0, "frechet": found}
        )
        look(watch, bounds, step)
        saver.on_train_batch_end(0)
    found = [path.name for path in (tmp_path / "checkpoints").glob("best-*")]
    assert found == [f"best-000000{best}"]


def test_what_copies_training_windows_is_never_the_best(watched):
    watch, bounds = watched("watch.min_variety=0.0")
    measure = watch.measure
    for share, best in ((0.1, False), (0.05, True)):
        watch.measure = lambda windows, share=share: (
            measure(windows) | {"variety": 1.0, "memorised": share}
        )
        look(watch, bounds, 10)
        assert watch.is_best == best


def test_recordings_that_come_twice_hide_no_repetition(tiny, tmp_path):
    bounds = callbacks.Budget(0, 0.0, 100, None)
    watch = watching(tiny, bounds, tmp_path, times=2)
    rng = np.random.default_rng(1)
    made = np.float32(rng.uniform(-1, 1, (200, 16, 32)))
    assert 0.3 < watch.measure(made)["nearest_ratio"] < 1.5
    repeated = np.tile(made[:20], (10, 1, 1))
    assert watch.measure(repeated)["nearest_ratio"] < 0.1
