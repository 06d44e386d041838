import numpy as np
import pytest

from stftgan_tf import metrics


def blobs(centres, count, seed=0):
    """Windows [count * centres, 2, 2], tight around each centre."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(np.float32(centres), count, axis=0)
    rows = rows + 0.01 * rng.normal(size=rows.shape)
    return np.float32(rows).reshape(-1, 2, 2)


CORNERS = 10 * np.eye(4)


def test_a_split_of_the_same_distribution_differs_nowhere():
    bins = metrics.BinTest(blobs(CORNERS, 100), clusters=4, seed=0)
    found = bins.compare(blobs(CORNERS, 50, seed=1))
    assert (found.different, found.clusters) == (0, 4)
    assert found.jensen_shannon == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(found.shares, 0.25)


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
    real = np.float32([[[0.0]], [[2.0]]])
    fake = np.float32([[[0.0]], [[1.0]]])
    assert metrics.diversity_ratio(fake, real) == pytest.approx(0.5)
    assert metrics.diversity_ratio(real[::-1], real) == pytest.approx(1.0)


def test_a_constant_generator_has_no_diversity():
    assert metrics.diversity_ratio(np.ones((9, 2, 2)), blobs(CORNERS, 5)) == 0


def test_the_judge_knows_the_labels():
    windows, labels = blobs(CORNERS, 30), np.repeat([0, 1, 2, 3], 30)
    judge = metrics.LabelJudge(windows, labels)
    assert (
        judge.accuracy(blobs(CORNERS, 10, seed=1), np.repeat([0, 1, 2, 3], 10))
        == 1
    )
    shares = judge.shares(blobs(CORNERS[[1, 1, 1, 3]], 10, seed=2), 5)
    np.testing.assert_allclose(shares, [0, 0.75, 0, 0.25, 0])
