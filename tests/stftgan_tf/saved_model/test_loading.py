import shutil

import numpy as np
import pytest

from stftgan_tf.errors import UserError
from stftgan_tf.saved_model import loading as exported


def test_batches_of_any_size_hold_the_same_samples(export):
    model = exported.load(export)
    batches = [list(model.batches(5, 7, size)) for size in (3, 7)]
    assert [len(b["seed"]) for b in batches[0]] == [3, 3, 1]
    for name in ("seed", "audio", "window", "wav_bytes"):
        one, other = (np.concatenate([b[name] for b in bs]) for bs in batches)
        np.testing.assert_array_equal(one, other)
    assert batches[1][0]["seed"].tolist() == list(range(5, 12))


def test_what_is_no_export_is_refused(tmp_path):
    with pytest.raises(UserError, match="is no export"):
        exported.load(tmp_path)


@pytest.mark.parametrize(
    "name", ["saved_model.pb", "variables/variables.data-00000-of-00001"]
)
def test_a_damaged_export_says_so(export, tmp_path, name):
    copy = shutil.copytree(export, tmp_path / "x")
    file = copy / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(UserError, match="is damaged"):
        exported.load(copy)
