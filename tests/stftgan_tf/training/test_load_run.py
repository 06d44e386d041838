import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf.errors import UserError
from stftgan_tf.training.load_run import load_run
from tests.stftgan_tf.training import runs


def test_a_run_is_loaded_with_its_newest_weights(trained_run, tiny):
    loaded = load_run(str(trained_run))
    assert (loaded.step, loaded.config) == (20, tiny)
    assert loaded.moments.mean.shape == (32,)
    for value in loaded.model.ema_generator.get_weights():
        stored = runs.weights(trained_run).values()
        assert any(np.array_equal(value, other) for other in stored)
    windows = loaded.model(tf.zeros([2, tiny.model.latent_dim]))
    assert windows.shape == (2, 16, 32)


def test_a_directory_without_run_or_checkpoint_is_refused(
    shards, tmp_path, trained_run
):
    with pytest.raises(UserError, match="is not a run .no config.yaml"):
        load_run(tmp_path)
    for name in ("config.yaml", "manifest.json"):
        (tmp_path / name).write_bytes((trained_run / name).read_bytes())
    with pytest.raises(UserError, match="contains no checkpoint yet"):
        load_run(tmp_path)


def test_a_conditional_run_is_loaded_with_its_classes(shards, tmp_path):
    run = runs.untrained_run(shards, tmp_path / "run", "model.condition=label")
    loaded = load_run(run)
    assert loaded.classes == 10
    windows = loaded.model(tf.zeros([2, 8]), tf.constant([3, 9]))
    assert windows.shape == (2, 16, 32)
