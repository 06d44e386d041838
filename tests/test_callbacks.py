import json

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from stftgan_tf import callbacks, train
from stftgan_tf.cli import UserError


def rows(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_metrics_have_a_row_every_log_every(trained):
    assert [row["step"] for row in rows(trained)] == [5, 10, 15, 20]
    for row in rows(trained):
        assert {
            "step",
            "secs",
            "critic_loss",
            "generator_loss",
            "gradient_penalty",
            "critic_gradient_norm",
            "generator_gradient_norm",
            "windows_per_sec",
        } == set(row)
        assert all(np.isfinite(value) for value in row.values())
        assert row["windows_per_sec"] > 0


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
    assert {"critic_loss", "diversity_ratio", "windows", "audio"} <= tags


def test_the_log_says_what_jit_compile_became(trained):
    text = (trained / "log.txt").read_text()
    assert "jit_compile auto became" in text
    assert "variety" in text and "ETA" in text and "windows/s" in text


def test_bounds_count_what_came_before(tiny):
    bounds = callbacks.Bounds(step=7, secs=60.0, steps=10, minutes=1.0)
    bounds.set_model(train.build(tiny))
    assert 60 <= bounds.secs < 61
    bounds.on_train_batch_end(0)
    assert bounds.step == 8
    assert bounds.model.stop_training
    assert bounds.stopped_by == "1 minutes are over"
    assert bounds.eta_secs() == 0.0


def test_eta_is_of_the_nearer_bound(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now[0])
    by_steps = callbacks.Bounds(step=10, secs=50.0, steps=40, minutes=None)
    by_time = callbacks.Bounds(step=10, secs=50.0, steps=40, minutes=1.0)
    assert by_steps.eta_secs() == float("inf")
    now[0] += 5.0
    by_steps.step = by_time.step = 20
    assert by_steps.eta_secs() == pytest.approx(10.0)
    assert by_time.eta_secs() == pytest.approx(5.0)


def test_what_is_not_finite_is_never_saved(tiny, tmp_path):
    model = train.build(tiny)
    model.train_step(tf.fill([8, 16, 32], float("inf")))
    bounds = callbacks.Bounds(step=3, secs=0.0, steps=9, minutes=None)
    saver = callbacks.Checkpoints(tmp_path, tiny, bounds)
    saver.set_model(model)
    bounds.step = 4
    with pytest.raises(UserError, match="not finite at step 0"):
        saver.save()
    assert not list(tmp_path.rglob("step-*"))
