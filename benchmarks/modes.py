"""Counts how many known modes each loss and remedy covers.

The data set has 25 or 100 modes: one bright spot in one of 5 x 5 or 10 x 10
places, with a little noise, all equally frequent. A generated window is good if
its distance to a mode's pattern is less than half of the distance between the
two closest patterns. A mode is covered if at least one of 100 x modes windows
is a good window of it (after Lin et al. 2018, "PacGAN", section 4.1). In every
row the critic of the same networks sees the same number of windows.
"""

import dataclasses
import statistics
import sys
import time

import numpy as np
import scipy.spatial
import tensorflow as tf

from stftgan_tf import cli
from stftgan_tf import config as config_lib
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.metrics import clusters, embedding
from stftgan_tf.models import condition
from stftgan_tf.models.build import build_wgan

EXAMPLE = "python benchmarks/modes.py --modes 25 --rows default clipped"

# Networks and loop of all rows; a training takes seconds.
BASE = [
    "model.generator.width=64",
    "model.critic.width=64",
    "model.latent_dim=16",
    "train.batch_size=64",
    "train.beta_2=0.99",
    # With 1e-3 one seed of the default covers 24 of 25 modes; with 2e-3 one
    # critic diverges.
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

# What each row changes. The loss of the default is wgan-gp.
ROWS = {
    "default": [],
    "clipped": _CLIPPED,
    "clipped, faster": [
        *_CLIPPED,
        "train.generator_lr=5e-4",
        "train.critic_lr=5e-4",
    ],
    "rpgan-r1r2": _RELATIVISTIC,
    "stddev": ["model.minibatch_stddev=4"],
    "5 critic steps": ["train.critic_steps=5"],
    "two time scales": ["train.critic_lr=3e-3"],
    "rpgan, lazy": [*_RELATIVISTIC, "train.penalty_interval=4"],
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

# Norm of the noise as a share of half the distance between the two closest
# patterns, so that nearly all real windows are good.
_NOISE = 0.8

# Radius of a spot as a share of the distance between two places.
_SPOT = 0.4


@dataclasses.dataclass(frozen=True)
class Result:
    """Figures of one training.

    Attributes:
      modes: number of covered modes.
      good: share of good windows among the generated ones.
      divergence: Jensen-Shannon divergence of the modes of good windows from
        a uniform distribution.
      secs: duration of the training.
    """

    modes: int
    good: float
    divergence: float
    secs: float


def make_patterns(count: int) -> np.ndarray:
    """Patterns float32 [count, 16, 32], spots on a grid; count is a square."""
    side = round(count**0.5)
    place = (np.arange(side) + 0.5) / side

    def spots(size):
        gaps = np.arange(size)[None] + 0.5 - size * place[:, None]
        return np.exp(-np.square(gaps / (_SPOT * size / side)) / 2)

    grid = spots(16)[:, None, :, None] * spots(32)[None, :, None, :]
    return np.float32(1.4 * grid - 0.7).reshape(-1, 16, 32)


def draw(
    patterns: np.ndarray, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Windows [count, 16, 32] and their modes [count], all equally frequent."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % len(patterns))
    rows = patterns[labels]
    sigma = _NOISE * min_distance(patterns) / 2 / patterns[0].size ** 0.5
    return np.float32(rows + sigma * rng.standard_normal(rows.shape)), labels


def min_distance(patterns: np.ndarray) -> float:
    """Distance between the two closest patterns."""
    flat = patterns.reshape(len(patterns), -1)
    return float(scipy.spatial.distance.pdist(flat).min())


def compare(
    windows: np.ndarray, patterns: np.ndarray
) -> tuple[int, float, float]:
    """(covered modes, share of good windows, divergence of their modes)."""
    flat, centres = (x.reshape(len(x), -1) for x in (windows, patterns))
    distances = np.stack(
        [np.linalg.norm(flat - centre, axis=1) for centre in centres], axis=1
    )
    good = distances.min(axis=1) < min_distance(patterns) / 2
    counts = np.bincount(distances.argmin(axis=1)[good], minlength=len(centres))
    shares = counts / max(1, counts.sum())
    even = np.full(len(centres), 1 / len(centres))
    divergence = (
        clusters.jensen_shannon(shares, even) if good.any() else np.log(2)
    )
    return int((counts > 0).sum()), float(good.mean()), divergence


def run(changes: list[str], modes: int, seed: int, windows: int) -> Result:
    """Trains on `windows` real windows and checks the averaged generator."""
    changes = [text.replace("MODES", str(modes)) for text in changes]
    config = config_lib.load("tiny", [*BASE, *changes, f"train.seed={seed}"])
    patterns = make_patterns(modes)
    real, labels = draw(patterns, 4096, seed)
    moments = Moments(np.zeros(32, np.float32), np.full(32, 1 / 3, np.float32))
    space = embedding.fit(real, moments, config)
    if config.model.condition == "label":
        classes = condition.Condition(np.full(modes, 1 / modes, np.float32))
    else:
        classes = condition.find(config, None, real, space.log_mel)
    model = build_wgan(config, moments, classes.classes if classes else 0)
    if classes:
        labels = classes.classify(tf.constant(real), tf.constant(labels))
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
    if classes:
        inputs.append(tf.constant(classes.draw(count, seed)))
    fake = model.ema_generator(inputs if classes else inputs[0]).numpy()
    return Result(*compare(fake, patterns), secs)


def main(argv: list[str] | None = None) -> int:
    """Trains every row with every seed and prints the table."""
    parser = cli.parser(__doc__, EXAMPLE)
    parser.add_argument(
        "--modes",
        type=int,
        default=25,
        help="number of modes, a square (default: 25)",
    )
    parser.add_argument(
        "--seeds", type=int, default=5, help="trainings of a row (default: 5)"
    )
    parser.add_argument(
        "--windows",
        type=int,
        default=150000,
        help="windows that the critic sees (default: 150000)",
    )
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=ROWS,
        default=list(ROWS),
        metavar="ROW",
        help=f"rows of the table (default: all of {', '.join(ROWS)})",
    )
    args = parser.parse_args(argv)
    if args.modes < 4 or round(args.modes**0.5) ** 2 != args.modes:
        parser.error(f"--modes is {args.modes}; expected a square, such as 25")
    if args.seeds < 1 or args.windows < 1000:
        parser.error("expected --seeds of at least 1 and --windows of 1000")
    print(f"{args.modes} modes, {args.windows} windows, {args.seeds} seeds")
    print(f"{'':18s}{'modes covered':>24s}{'good':>8s}{'JS':>8s}{'secs':>8s}")
    for name in args.rows:
        results = [
            run(ROWS[name], args.modes, seed, args.windows)
            for seed in range(args.seeds)
        ]
        modes = " ".join(str(f.modes) for f in results)
        medians = [
            statistics.median(getattr(f, key) for f in results)
            for key in ("good", "divergence", "secs")
        ]
        print(
            f"{name:18s}{modes:>24s}{100 * medians[0]:7.1f}%"
            f"{medians[1]:8.3f}{medians[2]:8.1f}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
