import numpy as np
import pytest

from stftgan_tf.metrics import label_scores


def test_inception_score_by_hand():
    assert label_scores.inception_score(np.eye(10)) == pytest.approx(10)
    assert label_scores.inception_score(np.full((5, 10), 0.1)) == pytest.approx(
        1
    )
    assert label_scores.inception_score(np.eye(10)[[3, 3]]) == pytest.approx(1)


def test_modified_inception_score_by_hand():
    # All pairs of two rows: KL is 0 for the two equal pairs.
    rows = np.array([[0.8, 0.2], [0.4, 0.6]])
    kl = [np.sum(p * np.log(p / q)) for p in rows for q in rows]
    result = label_scores.modified_inception_score(rows)
    assert result == pytest.approx(np.exp(np.mean(kl)))
    even = np.full((5, 4), 0.25)
    assert label_scores.modified_inception_score(even) == pytest.approx(1)


def test_am_score_by_hand():
    even = np.full(4, 0.25)
    assert label_scores.am_score(np.eye(4), even) == pytest.approx(0)
    # Uniform probabilities: the marginal is right, the entropy is log 4.
    assert label_scores.am_score(np.full((3, 4), 0.25), even) == pytest.approx(
        np.log(4)
    )
    # Only two of four labels: KL of even from (1/2, 1/2, 0, 0).
    half = np.eye(4)[[0, 1]] * (1 - 3e-9) + 1e-9
    assert label_scores.am_score(half, even) > 5
