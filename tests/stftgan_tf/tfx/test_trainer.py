"""`run_fn` without TFX; test_tfx_pipeline runs it under TFX."""

import gzip
import types

import numpy as np
import pytest

from stftgan_tf.data import dataset, integrity
from stftgan_tf.errors import UserError
from stftgan_tf.saved_model import loading
from stftgan_tf.tfx import trainer


@pytest.fixture
def examples(shards, tmp_path):
    """The shards as ImportExampleGen writes them: one gzip file per split."""
    for split in ("train", "eval"):
        directory = tmp_path / "examples" / f"Split-{split}"
        directory.mkdir(parents=True)
        parts = sorted((shards / f"Split-{split}").iterdir())
        data = b"".join(part.read_bytes() for part in parts)
        path = directory / "data_tfrecord-00000-of-00001.gz"
        path.write_bytes(gzip.compress(data))
    return tmp_path / "examples"


@pytest.mark.slow
def test_a_model_is_trained_and_exported(examples, shards, tiny, tmp_path):
    run, model = tmp_path / "model_run", tmp_path / "Format-Serving"
    trainer.run_fn(
        types.SimpleNamespace(
            train_files=[f"{examples}/Split-train/*"],
            train_steps=10,
            model_run_dir=str(run),
            serving_model_dir=str(model),
            custom_config={"config": tiny.to_dict(), "data": str(shards)},
        )
    )
    assert (run / "metrics.jsonl").is_file()
    export = loading.load(model)
    assert export.metadata["step"] == 10
    (batch,) = export.batches(0, 2, 2)
    assert np.isfinite(batch["audio"]).all()


def test_the_examples_have_the_windows_of_the_data_set(examples, shards, tiny):
    data_set = dataset.open_shards(shards, tiny)
    ingested = dataset.open_examples(str(examples), str(shards), tiny)
    integrity.verify(ingested)
    for split in ("train", "eval"):
        expected, actual = (
            dataset.load_windows(opened, tiny, split, 10**6)
            for opened in (data_set, ingested)
        )
        np.testing.assert_array_equal(actual[0], expected[0])
        np.testing.assert_array_equal(actual[1], expected[1])
    batch, _ = next(iter(dataset.training_batches(ingested, tiny)))
    assert batch.shape == (8 * tiny.train.critic_steps, 16, 32)


def test_missing_windows_are_reported(examples, shards, tiny):
    (path,) = examples.glob("Split-eval/*")
    path.write_bytes(gzip.compress(b""))
    with pytest.raises(UserError, match="0 windows; expected"):
        dataset.open_examples(str(examples), str(shards), tiny)
