import numpy as np
import pytest

from stftgan_tf.errors import UserError
from stftgan_tf.evaluation import blessing, examples


def windows(positions):
    """Windows of 2 x 3 at positions on a line."""
    positions = np.float32(positions)
    return examples.Windows(
        windows=np.tile(positions[:, None, None] / 100, (1, 2, 3)),
        labels=np.arange(len(positions)) - 1,
        vectors=np.stack([positions, 0 * positions], axis=1),
    )


@pytest.fixture(scope="module")
def selection():
    training = windows([0, 10, 20, 30, 40, 50])
    generated = windows([9, 21, 34, 47, 3, 50.5])
    audio = np.linspace(-1, 2, 6 * 4).reshape(6, 4)
    return examples.select(
        training,
        windows(np.arange(40)),
        generated,
        lambda rows: audio[rows],
        lambda x: np.repeat(x[:, 0, :1], 4, axis=1),
    )


def test_pairs_are_the_nearest_ones_and_the_first_seeds(selection):
    # Distances are 1, 1, 4, 3, 3 and 0.5.
    assert selection.rows["near"][0] == 5
    assert set(selection.rows["near"][1:3]) == {0, 1}
    assert selection.rows["near"][4:].tolist() == [0, 1, 2, 3]
    assert selection.rows["training"][4:].tolist() == [1, 2, 3, 5]
    np.testing.assert_allclose(selection.distances[4:], [1, 1, 4, 3])
    np.testing.assert_allclose(
        selection.windows["training"][4:, 0, 0], [0.1, 0.2, 0.3, 0.5], atol=1e-3
    )


def test_real_windows_are_spread_and_generated_ones_are_the_first(selection):
    assert selection.rows["real"][[0, -1]].tolist() == [0, 39]
    assert len(selection.rows["real"]) == 16
    assert selection.rows["generated"].tolist() == list(range(6))
    assert selection.labels["generated"].tolist() == [-1, 0, 1, 2, 3, 4]


def test_audio_is_16_bit_and_clipped(selection):
    audio = selection.audio["generated"]
    assert audio.dtype == np.int16
    assert audio[0, 0] == -32767 and audio[-1, -1] == 32767
    # Real audio of 0.39, from the stand-in for the phase step.
    assert selection.audio["real"][-1, 0] == round(0.39 * 32767)


def test_examples_are_read_back(selection, tmp_path):
    directory = tmp_path / "evaluation"
    blessing.write(directory, {"digest": "5ha"}, [], selection.arrays())
    loaded = examples.load(directory)
    arrays, expected = loaded.arrays(), selection.arrays()
    assert arrays.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array)
    assert list(loaded.points) == ["training", "real", "generated"]
    (directory / "examples.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(UserError, match=r"examples\.npz is damaged"):
        examples.load(directory)
    (directory / "examples.npz").unlink()
    with pytest.raises(UserError, match="run python -m .*evaluate again"):
        examples.load(directory)
