"""`run_fn` as TFX's Trainer calls it; under TFX itself: test_tfx_pipeline."""

import gzip
import types

import numpy as np
import pytest

from stftgan_tf.data import dataset, integrity
from stftgan_tf.errors import UserError
from stftgan_tf.saved_model import loading as exported
from stftgan_tf.tfx import trainer as tfx_trainer


@pytest.fixture
def examples(shards, tmp_path):
    """Shards as ImportExampleGen writes them: in one file a split, gzipped."""
    for split in ("train", "eval"):
        folder = tmp_path / "examples" / f"Split-{split}"
        folder.mkdir(parents=True)
        parts = sorted((shards / f"Split-{split}").iterdir())
        data = b"".join(part.read_bytes() for part in parts)
        name = folder / "data_tfrecord-00000-of-00001.gz"
        name.write_bytes(gzip.compress(data))
    return tmp_path / "examples"


def test_a_model_is_trained_and_exported(examples, shards, tiny, tmp_path):
    run, model = tmp_path / "model_run", tmp_path / "Format-Serving"
    tfx_trainer.run_fn(
        types.SimpleNamespace(
            train_files=[f"{examples}/Split-train/*"],
            train_steps=10,
            model_run_dir=str(run),
            serving_model_dir=str(model),
            custom_config={"config": tiny.to_dict(), "data": str(shards)},
        )
    )
    assert (run / "metrics.jsonl").is_file()
    loaded = exported.load(model)
    assert loaded.metadata["step"] == 10
    (batch,) = loaded.batches(0, 2, 2)
    assert np.isfinite(batch["audio"]).all()


def test_the_windows_are_those_of_the_data_set(examples, shards, tiny):
    ours = dataset.open_shards(shards, tiny)
    theirs = dataset.open_examples(str(examples), str(shards), tiny)
    integrity.verify(theirs)
    for split in ("train", "eval"):
        (windows, labels), (same_windows, same_labels) = (
            dataset.load_windows(opened, tiny, split, 10**6)
            for opened in (ours, theirs)
        )
        np.testing.assert_array_equal(windows, same_windows)
        np.testing.assert_array_equal(labels, same_labels)
    batch, _ = next(iter(dataset.training_batches(theirs, tiny)))
    assert batch.shape == (8 * tiny.train.critic_steps, 16, 32)


def test_a_missing_window_is_named(examples, shards, tiny):
    (path,) = examples.glob("Split-eval/*")
    path.write_bytes(gzip.compress(b""))
    with pytest.raises(UserError, match="holds 0 windows; expected the"):
        dataset.open_examples(str(examples), str(shards), tiny)
