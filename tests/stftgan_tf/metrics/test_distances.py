import numpy as np
import pytest

from stftgan_tf import config as config_lib
from stftgan_tf.dsp import features
from stftgan_tf.metrics import distances as metrics
from tests.conftest import SPEECH, needs_speech

CORNERS = 10 * np.eye(4)


def blobs(centres, count, seed=0):
    """Vectors [count * centres, 4], tight around each centre."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(np.float32(centres), count, axis=0)
    return np.float32(rows + 0.01 * rng.normal(size=rows.shape))


def normal(count, size, seed):
    return np.random.default_rng(seed).standard_normal((count, size))


def test_a_split_of_the_same_distribution_differs_nowhere():
    bins = metrics.BinTest(blobs(CORNERS, 100), clusters=4, seed=0)
    found = bins.compare(blobs(CORNERS, 50, seed=1))
    assert (found.different, found.clusters) == (0, 4)
    assert found.jensen_shannon == pytest.approx(0, abs=1e-12)


def test_a_random_validation_split_differs_nearly_nowhere():
    # Richardson & Weiss 2018: 0 of K, JS about .001, for a set of this size.
    rows = normal(20000, 8, 0)
    found = metrics.BinTest(rows[:15000], 50, 0).compare(rows[15000:])
    assert found.different <= 5
    assert found.jensen_shannon < 0.003


def test_a_collapse_onto_one_cluster_differs_everywhere():
    bins = metrics.BinTest(blobs(CORNERS, 100), clusters=4, seed=0)
    found = bins.compare(blobs(CORNERS[:1], 200))
    assert found.different == 4
    # One quarter against all of it, by hand: m = (5/8, 1/8, 1/8, 1/8).
    p = np.log(8 / 5)
    q = np.log(2 / 5) / 4 + 3 * np.log(2) / 4
    assert found.jensen_shannon == pytest.approx((p + q) / 2)


def test_two_proportions_by_hand():
    # 30 of 100 against 50 of 100: pooled 0.4, z = 0.2 / 0.0693 = 2.89.
    differ = metrics._differ(np.array([30, 70]), np.array([50, 50]))
    assert differ.tolist() == [True, True]
    # 45 of 100 against 50 of 100: z = 0.71.
    differ = metrics._differ(np.array([45, 55]), np.array([50, 50]))
    assert differ.tolist() == [False, False]


def test_empty_clusters_do_not_differ():
    differ = metrics._differ(np.array([0, 9]), np.array([0, 9]))
    assert differ.tolist() == [False, False]


def test_fewer_windows_than_clusters_are_refused():
    with pytest.raises(ValueError, match="expected at least 9, one a cluster"):
        metrics.BinTest(blobs(CORNERS, 2), clusters=9, seed=0)


def test_diversity_ratio_by_hand():
    real, fake = np.float32([[0.0], [2.0]]), np.float32([[0.0], [1.0]])
    assert metrics.diversity_ratio(fake, real) == pytest.approx(0.5)
    assert metrics.diversity_ratio(real[::-1], real) == pytest.approx(1.0)


def test_a_constant_generator_has_no_diversity():
    ones = np.ones((9, 4), np.float32)
    assert metrics.diversity_ratio(ones, blobs(CORNERS, 5)) == 0


def test_four_repeated_windows_have_diversity_but_nothing_near_is_new():
    real = normal(400, 4, 0)
    repeated = np.repeat(real[:4], 100, axis=0)
    assert metrics.diversity_ratio(repeated, real) > 0.5
    assert metrics.nearest_ratio(repeated, real) == 0
    assert metrics.nearest_ratio(normal(400, 4, 1), real) == pytest.approx(
        1, abs=0.1
    )


def test_frechet_distance_by_hand():
    # Of one dimension: (m - n)^2 + (s - t)^2.
    one, other = np.array([[-1.0], [1.0]]), np.array([[1.0], [7.0]])
    s, t = np.sqrt(2), np.sqrt(18)
    assert metrics.frechet_distance(one, other) == pytest.approx(
        16 + (s - t) ** 2
    )


def test_frechet_distance_of_few_vectors_does_not_know_the_order_of_columns():
    one, other = normal(12, 60, 0), 3 * normal(12, 60, 1)
    found = metrics.frechet_distance(one, other)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(60)
        moved = metrics.frechet_distance(one[:, order], other[:, order])
        assert moved == pytest.approx(found, rel=1e-12)


def test_frechet_distance_of_the_same_is_zero_and_of_a_shift_its_square():
    rows = normal(500, 16, 0)
    assert metrics.frechet_distance(rows, rows) == pytest.approx(0, abs=1e-9)
    assert metrics.frechet_distance(rows, rows + 0.5) == pytest.approx(16 / 4)


def test_density_and_coverage_of_identical_gaussians_are_as_published():
    # Naeem et al. 2020, section 3.3: d = 1000, n = 10000, k = 5.
    real, fake = (np.float32(normal(10000, 1000, seed)) for seed in (0, 1))
    density, coverage = metrics.density_and_coverage(fake, real)
    # In so many dimensions one draw differs from the next by about this much.
    assert density == pytest.approx(1.0555, abs=0.2)
    assert coverage == pytest.approx(0.9735, abs=0.02)


def test_coverage_of_identical_gaussians_has_its_closed_form():
    # All 2n - 1 others are equally likely to be among the nearest k: a ball is
    # missed where these are all real ones.
    n, k = 5000, 5
    missed = np.prod([(n - 1 - i) / (2 * n - 1 - i) for i in range(k)])
    real, fake = normal(n, 8, 0), normal(n, 8, 1)
    density, coverage = metrics.density_and_coverage(fake, real)
    assert density == pytest.approx(1.0, abs=0.03)
    assert coverage == pytest.approx(1 - missed, abs=0.01)


def test_density_and_coverage_by_hand():
    # Six points one apart: with k = 5 the balls have radii 5, 4, 3, 3, 4, 5.
    real = np.arange(6.0)[:, None]
    density, coverage = metrics.density_and_coverage(np.array([[0.0]]), real)
    # 0 lies in the balls of 0 (5), 1 (4), 2 (3), 3 (3), 4 (4), 5 (5).
    assert (density, coverage) == (6 / 5, 1.0)
    density, coverage = metrics.density_and_coverage(np.array([[-5.0]]), real)
    assert (density, coverage) == (1 / 5, 1 / 6)


def test_precision_and_recall_of_a_half():
    # Fake knows one of two far blobs, and nothing else.
    real = np.concatenate([normal(300, 2, 0), normal(300, 2, 1) + 100])
    precision, recall = metrics.precision_and_recall(normal(300, 2, 2), real)
    assert precision > 0.9
    assert recall == pytest.approx(0.5, abs=0.05)
    precision, recall = metrics.precision_and_recall(real + 1000, real)
    assert (precision, recall) == (0, 0)


def test_distances_to_the_nearest_by_hand():
    # From 0, 1 and 3 the nearest other ones are 1, 1 and 2 away.
    train = np.float32([[0.0], [1.0], [3.0]])
    assert metrics.nearest_other(train) == pytest.approx(4 / 3)
    # 0.4 and 2.5 are 0.4 and 0.5 from the nearest one: 0.4 is a copy, being
    # less than half of what 0 is from 1; so is 2.5, half of 3 from 1 being 1.
    found = metrics.neighbours(np.float32([[0.4], [2.5], [6.0]]), train)
    assert found.to_train == pytest.approx((0.4 + 0.5 + 3) / 3)
    assert found.memorised == pytest.approx(2 / 3)


def test_precision_and_recall_by_hand():
    # Radii, to the third neighbour: 3, 2, 2, 3 and 6, 4, 4, 6.
    real = np.float32([[0.0], [1.0], [2.0], [3.0]])
    fake = np.float32([[5.0], [7.0], [9.0], [11.0]])
    # Only 5 is in a real ball, that of 3; all real ones are in the ball of 5.
    assert metrics.precision_and_recall(fake, real) == (0.25, 1.0)


def test_copies_are_memorised_and_others_are_not():
    train = normal(500, 8, 0)
    copies = metrics.neighbours(train[:100] + 1e-3, train)
    assert copies.memorised == 1.0 and copies.to_train < 0.01
    others = metrics.neighbours(normal(100, 8, 1), train)
    assert others.memorised < 0.02
    assert metrics.nearest_other(normal(100, 8, 1)) > others.to_train > 1


def test_copies_of_windows_that_come_twice_are_memorised():
    train = np.repeat(normal(500, 8, 0), 2, axis=0)
    copies = metrics.neighbours(train[:100] + 1e-3, train)
    assert copies.memorised == 1.0


def test_parts_share_nothing_and_are_as_large_as_asked():
    rows = np.arange(1000)[:, None]
    found = metrics.parts(rows, 302)
    assert [len(part) for part in found] == [302, 302, 302]
    assert len(set(np.concatenate(found).ravel())) == 906
    (whole,) = metrics.parts(rows, 5000)
    np.testing.assert_array_equal(whole, rows)


def test_inception_score_by_hand():
    assert metrics.inception_score(np.eye(10)) == pytest.approx(10)
    assert metrics.inception_score(np.full((5, 10), 0.1)) == pytest.approx(1)
    assert metrics.inception_score(np.eye(10)[[3, 3]]) == pytest.approx(1)


def test_modified_inception_score_by_hand():
    # All pairs of two rows: KL is 0 for the two equal pairs.
    rows = np.array([[0.8, 0.2], [0.4, 0.6]])
    kl = [np.sum(p * np.log(p / q)) for p in rows for q in rows]
    found = metrics.modified_inception_score(rows)
    assert found == pytest.approx(np.exp(np.mean(kl)))
    even = np.full((5, 4), 0.25)
    assert metrics.modified_inception_score(even) == pytest.approx(1)


def test_am_score_by_hand():
    even = np.full(4, 0.25)
    assert metrics.am_score(np.eye(4), even) == pytest.approx(0)
    # Undecided everywhere: the labels are right, the entropy is log 4.
    assert metrics.am_score(np.full((3, 4), 0.25), even) == pytest.approx(
        np.log(4)
    )
    # Two of four labels, sure of each: KL of even from (1/2, 1/2, 0, 0).
    half = np.eye(4)[[0, 1]] * (1 - 3e-9) + 1e-9
    assert metrics.am_score(half, even) > 5


@pytest.mark.parametrize(("last", "expected"), [(0.0, 1.0), (20.0, -1.0)])
def test_consistency_by_hand(last, expected):
    # Two inner values, so the correlation of two points: 1 where both
    # derivatives are larger at the same one, else -1. With 9 at the first one,
    # those along time are -18 and 0, those along bins -18 and 9 + last.
    window = np.zeros((1, 3, 4))
    window[0, 1, 1], window[0, 1, 3] = 9.0, last
    config = config_lib.load("speech16k")
    assert metrics.consistency(window, config.stft) == pytest.approx(expected)


@needs_speech
def test_consistency_of_speech_is_as_published():
    # Marafioti et al. 2019: about .71 with four-fold overlap, floor e^-10.
    import soundfile

    config = config_lib.load("speech16k")
    path = sorted((SPEECH / "librispeech16k").rglob("*.flac"))[0]
    samples, _ = soundfile.read(path, dtype="float32")
    stfts = features.stft(samples, config.stft)[:, :-1]
    logs = np.log(np.maximum(np.abs(stfts) / np.abs(stfts).max(), np.exp(-10)))
    found = metrics.consistency(logs[None], config.stft)
    assert found == pytest.approx(0.71, abs=0.06)


def test_consistency_of_a_flat_window_is_no_nan():
    config = config_lib.load("tiny")
    assert metrics.consistency(np.zeros((2, 16, 32)), config.stft) == 0


def test_of_rows_that_come_twice_the_first_is_distinct():
    rows = np.array([[[3.0]], [[1.0]], [[3.0]], [[2.0]], [[1.0]]])
    assert metrics.distinct(rows).tolist() == [0, 1, 3]


def test_a_single_frame_has_no_consistency():
    config = config_lib.load("tiny").stft
    assert metrics.consistency(np.zeros([2, 1, 32]), config) == 0.0
