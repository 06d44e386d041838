import numpy as np
import pytest

from stftgan_tf import config as config_lib
from stftgan_tf.dsp import stft
from stftgan_tf.metrics import distances
from tests.conftest import SPEECH, needs_speech


def normal(count, size, seed):
    return np.random.default_rng(seed).standard_normal((count, size))


def test_diversity_ratio_by_hand():
    real, fake = np.float32([[0.0], [2.0]]), np.float32([[0.0], [1.0]])
    assert distances.diversity_ratio(fake, real) == pytest.approx(0.5)
    assert distances.diversity_ratio(real[::-1], real) == pytest.approx(1.0)


def test_diversity_within_labels_by_hand():
    # Half as wide within label 0, as wide within label 1; label 2 has no pair.
    real = np.float32([[0], [2], [50], [51], [90]]), np.array([0, 0, 1, 1, 2])
    fake = np.float32([[0], [1], [70], [71], [9]]), np.array([0, 0, 1, 1, -1])
    assert distances.label_diversity(fake, real) == pytest.approx(0.75)
    unknown = fake[0], np.full(5, -1)
    assert distances.label_diversity(unknown, real) == 0


def test_a_constant_generator_has_no_diversity():
    ones = np.ones((9, 4), np.float32)
    assert distances.diversity_ratio(ones, normal(20, 4, 0)) == 0


def test_repeated_windows_are_diverse_but_have_near_neighbours():
    real = normal(400, 4, 0)
    repeated = np.repeat(real[:4], 100, axis=0)
    assert distances.diversity_ratio(repeated, real) > 0.5
    assert distances.nearest_ratio(repeated, real) == 0
    assert distances.nearest_ratio(normal(400, 4, 1), real) == pytest.approx(
        1, abs=0.1
    )


def test_frechet_distance_by_hand():
    # In one dimension: (m - n)^2 + (s - t)^2.
    one, other = np.array([[-1.0], [1.0]]), np.array([[1.0], [7.0]])
    s, t = np.sqrt(2), np.sqrt(18)
    assert distances.frechet_distance(one, other) == pytest.approx(
        16 + (s - t) ** 2
    )


def test_frechet_distance_of_few_vectors_ignores_the_order_of_columns():
    one, other = normal(12, 60, 0), 3 * normal(12, 60, 1)
    result = distances.frechet_distance(one, other)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(60)
        moved = distances.frechet_distance(one[:, order], other[:, order])
        assert moved == pytest.approx(result, rel=1e-12)


def test_frechet_distance_of_a_shift_is_its_square():
    rows = normal(500, 16, 0)
    assert distances.frechet_distance(rows, rows) == pytest.approx(0, abs=1e-9)
    assert distances.frechet_distance(rows, rows + 0.5) == pytest.approx(16 / 4)


@pytest.mark.slow
def test_density_and_coverage_of_equal_gaussians_are_as_published():
    # Naeem et al. 2020, section 3.3: d = 1000, n = 10000, k = 5.
    real, fake = (np.float32(normal(10000, 1000, seed)) for seed in (0, 1))
    density, coverage = distances.density_and_coverage(fake, real)
    # In so many dimensions one draw differs from the next by about this much.
    assert density == pytest.approx(1.0555, abs=0.2)
    assert coverage == pytest.approx(0.9735, abs=0.02)


def test_coverage_of_equal_gaussians_has_its_closed_form():
    # Each of the 2n - 1 others is equally likely to be among the k nearest; a
    # ball is empty if all of those are real.
    n, k = 5000, 5
    missed = np.prod([(n - 1 - i) / (2 * n - 1 - i) for i in range(k)])
    real, fake = normal(n, 8, 0), normal(n, 8, 1)
    density, coverage = distances.density_and_coverage(fake, real)
    assert density == pytest.approx(1.0, abs=0.03)
    assert coverage == pytest.approx(1 - missed, abs=0.01)


def test_density_and_coverage_by_hand():
    # Six points one apart: with k = 5 the balls have radii 5, 4, 3, 3, 4, 5.
    real = np.arange(6.0)[:, None]
    density, coverage = distances.density_and_coverage(np.array([[0.0]]), real)
    # 0 is in the balls of 0 (5), 1 (4), 2 (3), 3 (3), 4 (4), 5 (5).
    assert (density, coverage) == (6 / 5, 1.0)
    density, coverage = distances.density_and_coverage(np.array([[-5.0]]), real)
    assert (density, coverage) == (1 / 5, 1 / 6)


def test_recall_is_one_half_if_one_of_two_clusters_is_missing():
    # The generated vectors cover one of two distant clusters.
    real = np.concatenate([normal(300, 2, 0), normal(300, 2, 1) + 100])
    precision, recall = distances.precision_and_recall(normal(300, 2, 2), real)
    assert precision > 0.9
    assert recall == pytest.approx(0.5, abs=0.05)
    precision, recall = distances.precision_and_recall(real + 1000, real)
    assert (precision, recall) == (0, 0)


def test_distances_to_the_nearest_by_hand():
    # From 0, 1 and 3 the nearest other ones are 1, 1 and 2 away.
    train = np.float32([[0.0], [1.0], [3.0]])
    assert distances.nearest_other(train) == pytest.approx(4 / 3)
    # 0.4 and 2.5 are 0.4 and 0.5 from the nearest one. Both are copies: 0.4
    # is below half of the distance from 0 to 1, and 0.5 below half of the
    # distance from 3 to 1.
    result = distances.neighbours(np.float32([[0.4], [2.5], [6.0]]), train)
    assert result.to_train == pytest.approx((0.4 + 0.5 + 3) / 3)
    assert result.memorised == pytest.approx(2 / 3)


def test_precision_and_recall_by_hand():
    # Radii, to the third neighbour: 3, 2, 2, 3 and 6, 4, 4, 6.
    real = np.float32([[0.0], [1.0], [2.0], [3.0]])
    fake = np.float32([[5.0], [7.0], [9.0], [11.0]])
    # Only 5 is in a real ball, that of 3; all real ones are in the ball of 5.
    assert distances.precision_and_recall(fake, real) == (0.25, 1.0)


def test_copies_are_memorised_and_other_windows_are_not():
    train = normal(500, 8, 0)
    copies = distances.neighbours(train[:100] + 1e-3, train)
    assert copies.memorised == 1.0 and copies.to_train < 0.01
    others = distances.neighbours(normal(100, 8, 1), train)
    assert others.memorised < 0.02
    assert distances.nearest_other(normal(100, 8, 1)) > others.to_train > 1


def test_copies_of_repeated_windows_are_memorised():
    train = np.repeat(normal(500, 8, 0), 2, axis=0)
    copies = distances.neighbours(train[:100] + 1e-3, train)
    assert copies.memorised == 1.0


def test_parts_are_disjoint_and_have_the_requested_size():
    rows = np.arange(1000)[:, None]
    result = distances.parts(rows, 302)
    assert [len(part) for part in result] == [302, 302, 302]
    assert len(set(np.concatenate(result).ravel())) == 906
    (whole,) = distances.parts(rows, 5000)
    np.testing.assert_array_equal(whole, rows)


@pytest.mark.parametrize(("last", "expected"), [(0.0, 1.0), (20.0, -1.0)])
def test_consistency_by_hand(last, expected):
    # Two inner values, so the correlation of two points: 1 where both
    # derivatives are larger at the same one, else -1. With 9 at the first one,
    # those along time are -18 and 0, those along bins -18 and 9 + last.
    window = np.zeros((1, 3, 4))
    window[0, 1, 1], window[0, 1, 3] = 9.0, last
    config = config_lib.load("speech16k")
    assert distances.consistency(window, config.stft) == pytest.approx(expected)


@needs_speech
def test_consistency_of_speech_is_as_published():
    # Marafioti et al. 2019: about .71 with four-fold overlap, floor e^-10.
    import soundfile

    config = config_lib.load("speech16k")
    path = sorted((SPEECH / "librispeech16k").rglob("*.flac"))[0]
    samples, _ = soundfile.read(path, dtype="float32")
    stfts = stft.forward(samples, config.stft)[:, :-1]
    logs = np.log(np.maximum(np.abs(stfts) / np.abs(stfts).max(), np.exp(-10)))
    result = distances.consistency(logs[None], config.stft)
    assert result == pytest.approx(0.71, abs=0.06)


def test_consistency_of_a_constant_window_is_zero():
    config = config_lib.load("tiny")
    assert distances.consistency(np.zeros((2, 16, 32)), config.stft) == 0


def test_distinct_keeps_the_first_of_equal_rows():
    rows = np.array([[[3.0]], [[1.0]], [[3.0]], [[2.0]], [[1.0]]])
    assert distances.distinct_rows(rows).tolist() == [0, 1, 3]


def test_consistency_of_a_single_frame_is_zero():
    config = config_lib.load("tiny").stft
    assert distances.consistency(np.zeros([2, 1, 32]), config) == 0.0
