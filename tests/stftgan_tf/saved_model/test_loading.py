import shutil

import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf.errors import UserError
from stftgan_tf.saved_model import loading


def test_batches_of_any_size_contain_the_same_samples(loaded):
    small, large = (list(loaded.batches(5, 7, size)) for size in (3, 7))
    assert [len(batch["seed"]) for batch in small] == [3, 3, 1]
    for name in ("seed", "audio", "window", "wav_bytes"):
        left, right = (
            np.concatenate([batch[name] for batch in batches])
            for batches in (small, large)
        )
        np.testing.assert_array_equal(left, right)
    assert large[0]["seed"].tolist() == list(range(5, 12))


def test_samples_are_arrays_of_audio(loaded, tiny):
    audio = loaded.sample(num=3, seed=5)
    assert audio.shape == (3, tiny.window_samples)
    assert loaded.sample_rate_hz == 8000
    (batch,) = loaded.batches(5, 3, 3)
    np.testing.assert_array_equal(audio, batch["audio"])
    truncated = loaded.sample(num=3, seed=5, truncation=0.2)
    assert np.abs(truncated - audio).max() > 1e-3
    way = loaded.interpolate(5, 7, num=3)
    np.testing.assert_allclose(way[[0, 2]], audio[[0, 2]], atol=1e-3)


def test_long_audio_has_the_requested_duration(loaded):
    assert loaded.max_secs >= 5
    whole = loaded.long(num=1, seed=3)
    assert whole.shape == (1, loaded.metadata["long_samples"])
    short = loaded.long(num=1, seed=3, secs=1.0)
    assert short.shape == (1, 8000) and short[0, -1] == 0
    np.testing.assert_array_equal(short[0, :7000], whole[0, :7000])
    with pytest.raises(ValueError, match="secs is 99; expected above 0, at mo"):
        loaded.long(secs=99)


def test_a_label_is_named_or_numbered(labelled, loaded):
    names = labelled.metadata["labels"]
    assert names == [str(digit) for digit in range(10)]
    assert labelled.label_index("7") == labelled.label_index(7) == 7
    expected = labelled.sample(2, seed=3, label=7)
    np.testing.assert_array_equal(
        labelled.sample(2, seed=3, label="7"), expected
    )
    assert not np.array_equal(labelled.sample(2, 3, label="1"), expected)
    np.testing.assert_allclose(
        labelled.interpolate(3, 4, 2, label=7), expected, atol=1e-3
    )
    assert labelled.long(1, label=7).any()
    for label in ("11", "seven", 10, -1):
        with pytest.raises(UserError, match="has no label .*; expected one of"):
            labelled.label_index(label)
    with pytest.raises(UserError, match="has no labels; train with"):
        loaded.sample(label="7")


def test_a_name_takes_precedence_over_a_number():
    metadata = {"condition": "label", "labels": ["1", "0", "two"]}
    model = loading.LoadedModel("export", metadata, signatures=None)
    assert model.label_index("1") == 0
    assert model.label_index("two") == model.label_index("2") == 2


class EarlierVersion(tf.Module):
    """Returns the truncation, which earlier versions called `psi`."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.int64, "seed"),
            tf.TensorSpec([None], tf.float32, "psi"),
        ]
    )
    def call(self, seed, psi):
        return {"audio": psi[:, None] + tf.cast(seed[:, None], tf.float32)}


def test_an_export_of_an_earlier_version_is_truncated_too(export, tmp_path):
    module = EarlierVersion()
    functions = dict.fromkeys(loading.SIGNATURES, module.call)
    tf.saved_model.save(module, str(tmp_path), functions)
    shutil.copy(export / loading.METADATA, tmp_path)
    audio = loading.load(tmp_path).sample(2, seed=3, truncation=0.5)
    assert audio.tolist() == [[3.5], [4.5]]


def test_a_directory_that_is_not_an_export_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not an export"):
        loading.load(tmp_path)


@pytest.mark.parametrize(
    "name", ["saved_model.pb", "variables/variables.data-00000-of-00001"]
)
def test_a_damaged_export_is_named(export, tmp_path, name):
    copy = shutil.copytree(export, tmp_path / "x")
    file = copy / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(UserError, match="is damaged"):
        loading.load(copy)
