"""How many known modes each loss and remedy finds.

The data are windows of 25 or 100 kinds: one bright spot in one of 5 x 5 or
10 x 10 places, with a little noise, all equally often. A generated window is
good if it is nearer to a kind's pattern than half of
what the two closest patterns are apart, hence to no other; a kind is found if
any of 100 x kinds windows is a good one of it (after Lin et al. 2018, "PacGAN",
section 4.1). Every row trains the same networks for the same number of
windows that the critic sees.

    python benchmarks/modes.py --modes 25 --seeds 5
    python benchmarks/modes.py --modes 100 --rows default clipped pac_size
"""

import argparse
import dataclasses
import statistics
import sys
import time

import numpy as np
import scipy.spatial
import tensorflow as tf

from stftgan_tf import config as config_lib
from stftgan_tf.models.build import build_wgan
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.metrics import clusters, embedding
from stftgan_tf.models import condition

# Networks and loop of all rows; the sizes are those of a second's training.
BASE = [
    "model.generator.width=64",
    "model.critic.width=64",
    "model.latent_dim=16",
    "train.batch_size=64",
    "train.beta_2=0.99",
    # With 1e-3 one seed of the default finds 24 of 25 kinds, with 2e-3 the
    # critic of one diverges.
    "train.generator_lr=1.5e-3",
    "train.critic_lr=1.5e-3",
]

_CLIPPED = [
    "train.loss=wgan",
    "train.optimizer=rmsprop",
    "train.generator_lr=5e-5",
    "train.critic_lr=5e-5",
    "train.critic_steps=5",
]

_RELATIVISTIC = ["train.loss=rpgan-r1r2", "train.penalty_weight=0.1"]

# What each row changes; the default's loss is wgan-gp.
ROWS = {
    "default": [],
    "clipped": _CLIPPED,
    "clipped, faster": [
        *_CLIPPED,
        "train.generator_lr=5e-4",
        "train.critic_lr=5e-4",
    ],
    "wgan-lp": ["train.loss=wgan-lp"],
    "wgan-div": ["train.loss=wgan-div", "train.penalty_weight=2"],
    "rpgan-r1r2": _RELATIVISTIC,
    "pac_size": ["model.pac_size=2"],
    "stddev": ["model.minibatch_stddev=4"],
    "spectral norm": ["model.spectral_norm=true", "train.penalty_weight=0.1"],
    "spectral, weight 10": ["model.spectral_norm=true"],
    "5 critic steps": ["train.critic_steps=5"],
    "two time scales": ["train.critic_lr=3e-3"],
    "rpgan, lazy": [*_RELATIVISTIC, "train.penalty_interval=4"],
    "drift": ["train.drift_weight=0.001"],
    "no average": ["train.ema_half_life_windows=0"],
    "augmentation": ["augment.target=0.6", "augment.adjust_windows=50000"],
    "clusters": ["model.condition=cluster", "model.clusters=MODES"],
    "labels": ["model.condition=label"],
    "digits8k": [
        "train.loss=rpgan-r1r2",
        "train.penalty_weight=1",
        "train.penalty_interval=4",
        "model.condition=cluster",
        "model.clusters=50",
        "augment.target=0.6",
    ],
}

# Length of the noise, of half the distance between the two closest patterns:
# nearly all real windows are good.
_NOISE = 0.8

# Radius of a spot, of the distance between two places.
_SPOT = 0.4


@dataclasses.dataclass(frozen=True)
class Found:
    """Of one training.

    Attributes:
      modes: kinds that are found.
      good: share of generated windows that are good ones.
      shannon: Jensen-Shannon divergence of the kinds of good ones from even.
      secs: of training.
    """

    modes: int
    good: float
    shannon: float
    secs: float


def patterns(count: int) -> np.ndarray:
    """The kinds, float32 [count, 16, 32]: spots on a grid, count a square."""
    side = round(count**0.5)
    place = (np.arange(side) + 0.5) / side

    def spots(size):
        gaps = np.arange(size)[None] + 0.5 - size * place[:, None]
        return np.exp(-np.square(gaps / (_SPOT * size / side)) / 2)

    grid = spots(16)[:, None, :, None] * spots(32)[None, :, None, :]
    return np.float32(1.4 * grid - 0.7).reshape(-1, 16, 32)


def draw(
    kinds: np.ndarray, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Windows [count, 16, 32] and their kinds [count], all equally often."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % len(kinds))
    rows = kinds[labels]
    sigma = _NOISE * closest(kinds) / 2 / kinds[0].size ** 0.5
    return np.float32(rows + sigma * rng.standard_normal(rows.shape)), labels


def closest(kinds: np.ndarray) -> float:
    """Distance between the two closest patterns."""
    return float(
        scipy.spatial.distance.pdist(kinds.reshape(len(kinds), -1)).min()
    )


def judge(windows: np.ndarray, kinds: np.ndarray) -> tuple[int, float, float]:
    """(kinds found, share of good windows, divergence of their kinds)."""
    flat, centres = (x.reshape(len(x), -1) for x in (windows, kinds))
    distances = np.stack(
        [np.linalg.norm(flat - centre, axis=1) for centre in centres], axis=1
    )
    good = distances.min(axis=1) < closest(kinds) / 2
    counts = np.bincount(distances.argmin(axis=1)[good], minlength=len(centres))
    shares = counts / max(1, counts.sum())
    even = np.full(len(centres), 1 / len(centres))
    divergence = (
        clusters.jensen_shannon(shares, even) if good.any() else np.log(2)
    )
    return int((counts > 0).sum()), float(good.mean()), divergence


def run(changes: list[str], modes: int, seed: int, windows: int) -> Found:
    """Trains on `windows` real windows and judges the averaged generator."""
    changes = [text.replace("MODES", str(modes)) for text in changes]
    config = config_lib.load("tiny", [*BASE, *changes, f"train.seed={seed}"])
    kinds = patterns(modes)
    real, labels = draw(kinds, 4096, seed)
    moments = Moments(
        np.zeros(32, np.float32), np.full(32, 1 / 3, np.float32)
    )
    space = embedding.fit(real, moments, config)
    if config.model.condition == "label":
        told = condition.Condition(np.full(modes, 1 / modes, np.float32))
    else:
        told = condition.find(config, None, real, space.log_mel)
    model = build_wgan(config, moments, told.classes if told else 0)
    if told:
        labels = told.of(tf.constant(real), tf.constant(labels))
    batch = config.train.batch_size * config.train.critic_steps
    batches = (
        tf.data.Dataset.from_tensor_slices((real, tf.cast(labels, tf.int64)))
        .shuffle(4096, seed=seed)
        .repeat()
        .batch(batch, drop_remainder=True)
        .prefetch(8)
    )
    start = time.perf_counter()
    steps = windows // batch
    model.fit(
        batches, epochs=1, steps_per_epoch=steps, shuffle=False, verbose=0
    )
    secs = time.perf_counter() - start
    count = 100 * modes
    inputs = [tf.random.stateless_normal([count, 16], [seed, -1])]
    if told:
        inputs.append(tf.constant(told.draw(count, seed)))
    made = model.ema_generator(inputs if told else inputs[0]).numpy()
    return Found(*judge(made, kinds), secs)


def main() -> int:
    """Trains every row with every seed and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--modes", type=int, default=25, help="a square")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--windows",
        type=int,
        default=150000,
        help="that the critic sees (default: 150000)",
    )
    parser.add_argument(
        "--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW"
    )
    args = parser.parse_args()
    if args.modes < 4 or round(args.modes**0.5) ** 2 != args.modes:
        parser.error(f"--modes is {args.modes}; expected a square, such as 25")
    if args.seeds < 1 or args.windows < 1000:
        parser.error("expected at least 1 of --seeds and 1000 --windows")
    print(f"{args.modes} modes, {args.windows} windows, {args.seeds} seeds")
    print(f"{'':18s}{'modes found':>24s}{'good':>8s}{'JS':>8s}{'secs':>8s}")
    for name in args.rows:
        found = [
            run(ROWS[name], args.modes, seed, args.windows)
            for seed in range(args.seeds)
        ]
        modes = " ".join(str(f.modes) for f in found)
        middle = [
            statistics.median(getattr(f, key) for f in found)
            for key in ("good", "shannon", "secs")
        ]
        print(
            f"{name:18s}{modes:>24s}{100 * middle[0]:7.1f}%"
            f"{middle[1]:8.3f}{middle[2]:8.1f}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
