"""Scores computed from a classifier's label probabilities.

Every function takes `probabilities`, float [B, classes], whose rows sum to 1.
"""

import numpy as np
import scipy.stats

# Smallest probability whose logarithm is taken.
_EPSILON = 1e-12


def inception_score(probabilities: np.ndarray) -> float:
    """exp of the mean KL divergence of p(label | x) from p(label).

    Salimans et al. 2016, section 4.
    """
    marginal = probabilities.mean(axis=0)
    divergence = scipy.stats.entropy(probabilities, marginal[None], axis=1)
    return float(np.exp(divergence.mean()))


def modified_inception_score(probabilities: np.ndarray) -> float:
    """exp of the mean KL of p(label | x) from p(label | x'), over all pairs.

    Gurumurthy et al. 2017, as used for SC09 (Kong et al. 2021, appendix D).
    """
    logs = np.log(np.maximum(np.float64(probabilities), _EPSILON))
    # The mean over pairs of sum p (log p - log q) splits into two terms. The
    # second one requires only the mean of log q.
    negative_entropy = np.sum(probabilities * logs, axis=1).mean()
    cross_term = float(probabilities.mean(axis=0) @ logs.mean(axis=0))
    return float(np.exp(negative_entropy - cross_term))


def am_score(probabilities: np.ndarray, training: np.ndarray) -> float:
    """KL divergence of p(label) from the training labels, plus mean entropy.

    Zhou et al. 2018, equation 20; 0 is best.

    Args:
      probabilities: float [B, classes].
      training: float [classes], shares of the labels in the training split.
    """
    marginal = probabilities.mean(axis=0)
    mean_entropy = scipy.stats.entropy(probabilities, axis=1).mean()
    return float(scipy.stats.entropy(training, marginal) + mean_entropy)
