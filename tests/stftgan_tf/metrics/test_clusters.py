import numpy as np
import pytest

from stftgan_tf.metrics import clusters

CORNERS = 10 * np.eye(4)


def blobs(centres, count, seed=0):
    """Vectors [count * centres, 4], tight around each centre."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(np.float32(centres), count, axis=0)
    return np.float32(rows + 0.01 * rng.normal(size=rows.shape))


def test_equal_distributions_differ_in_no_cluster():
    test = clusters.BinTest(blobs(CORNERS, 100), clusters=4, seed=0)
    result = test.compare(blobs(CORNERS, 50, seed=1))
    assert (result.ndb, result.clusters) == (0, 4)
    assert result.jensen_shannon == pytest.approx(0, abs=1e-12)


def test_a_random_split_differs_in_few_clusters():
    # Richardson & Weiss 2018: 0 of K, JS about .001, for a set of this size.
    rows = np.random.default_rng(0).standard_normal((20000, 8))
    result = clusters.BinTest(rows[:15000], 50, 0).compare(rows[15000:])
    assert result.ndb <= 5
    assert result.jensen_shannon < 0.003


def test_a_collapse_to_one_cluster_differs_in_all_clusters():
    test = clusters.BinTest(blobs(CORNERS, 100), clusters=4, seed=0)
    result = test.compare(blobs(CORNERS[:1], 200))
    assert result.ndb == 4
    # One quarter against the whole, by hand: m = (5/8, 1/8, 1/8, 1/8).
    p = np.log(8 / 5)
    q = np.log(2 / 5) / 4 + 3 * np.log(2) / 4
    assert result.jensen_shannon == pytest.approx((p + q) / 2)


def test_two_proportions_by_hand():
    # 30 of 100 against 50 of 100: pooled 0.4, z = 0.2 / 0.0693 = 2.89.
    differ = clusters.proportions_differ(np.array([30, 70]), np.array([50, 50]))
    assert differ.tolist() == [True, True]
    # 45 of 100 against 50 of 100: z = 0.71.
    differ = clusters.proportions_differ(np.array([45, 55]), np.array([50, 50]))
    assert differ.tolist() == [False, False]


def test_expected_ndb_of_a_perfect_sampler():
    # A test of 5 % in each of four clusters: 0.2.
    test = clusters.BinTest(blobs(CORNERS, 500), clusters=4, seed=0)
    assert test.expected(1000) == pytest.approx(0.2, abs=0.08)
    assert test.expected(1000) == test.expected(1000)
    # All vectors are in the only cluster, so no share can differ.
    test = clusters.BinTest(blobs(CORNERS, 10), clusters=1, seed=0)
    assert test.expected(1000) == 0


def test_empty_clusters_do_not_differ():
    differ = clusters.proportions_differ(np.array([0, 9]), np.array([0, 9]))
    assert differ.tolist() == [False, False]


def test_fewer_windows_than_clusters_are_an_error():
    with pytest.raises(ValueError, match="expected at least 9, one for each"):
        clusters.BinTest(blobs(CORNERS, 2), clusters=9, seed=0)
