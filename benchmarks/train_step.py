"""Compares the speed of the training step with alternatives.

The same networks, loss (wgan-gp) and loop, side by side. Rows take turns,
because the machine's speed drifts: our step as the plain graph, in bfloat16,
eagerly and with XLA; the loop as a popular Keras example writes it; PyTorch,
eager and compiled. Also shows the share of the machine's measured peak of
float32 matrix multiplication, and with --data the speed of the input pipeline.

    pip install -e '.[benchmarks]'
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from stftgan_tf import cli
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.data import dataset
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.errors import UsageError
from stftgan_tf.models.build import build_wgan
from stftgan_tf.models.layers import UpConv1D

EXAMPLE = "python benchmarks/train_step.py --rounds 3 --steps 5"

# Settings of all rows, which replace those of the config.
_SAME = [
    "model.condition=none",
    "augment.target=0",
    "model.phase=integrated",
    "train.loss=wgan-gp",
    "train.penalty_weight=10",
    "train.penalty_interval=1",
    "model.minibatch_stddev=1",
]


class UpConv(nn.Module):
    """`UpConv1D`, but with two independent kernels."""

    def __init__(self, channels: int, width: int, kernel: int):
        super().__init__()
        taps = UpConv1D(width, kernel).taps
        self.both = nn.Conv1d(channels, 2 * width, taps, padding=taps // 2)

    def forward(self, x):
        even, odd = self.both(x).chunk(2, dim=1)
        return torch.stack([even, odd], dim=-1).flatten(2)


class Residual(nn.Module):
    """A resized branch plus a branch of two convolutions."""

    def __init__(self, resize: nn.Module, first: nn.Module, last: nn.Module):
        super().__init__()
        leaky = nn.LeakyReLU(0.2)
        self.resize = resize
        self.branch = nn.Sequential(leaky, first, leaky, last)

    def forward(self, x):
        return self.resize(x) + self.branch(x)


class Critic(nn.Sequential):
    """The `frames` critic, [B, F, T] -> [B, 1]."""

    def __init__(self, config: Config):
        width, kernel = config.model.critic.width, config.model.critic.kernel
        frames, bins = config.window_shape
        inner = -(-width * kernel // (kernel + 3))
        blocks = [
            Residual(
                nn.AvgPool1d(2),
                nn.Conv1d(width, inner, kernel, 2, padding=kernel // 2),
                nn.Conv1d(inner, width, 3, padding=1),
            )
            for _ in range(config.model.num_downsamples)
        ]
        last = frames // 2**config.model.num_downsamples * width
        super().__init__(
            nn.Conv1d(bins, width, 3, padding=1),
            *blocks,
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(last, 1),
        )


class Generator(nn.Sequential):
    """The `frames` generator, [B, Z] -> [B, F, T]."""

    def __init__(self, config: Config):
        model, (frames, bins) = config.model, config.window_shape
        width, kernel = model.generator.width, model.generator.kernel
        base, inner = frames // 2**model.num_downsamples, -(-width // 2)
        blocks = [
            Residual(
                nn.Upsample(scale_factor=2),
                UpConv(width, inner, kernel),
                nn.Conv1d(inner, width, 3, padding=1),
            )
            for _ in range(model.num_downsamples)
        ]
        super().__init__(
            nn.Linear(model.latent_dim, base * width),
            nn.Unflatten(1, (width, base)),
            *blocks,
            nn.LeakyReLU(0.2),
            nn.Conv1d(width, bins, 3, padding=1),
            nn.Tanh(),
        )


class TorchStep:
    """A training step of the same loop in eager PyTorch."""

    def __init__(self, config: Config):
        self.config = config
        self.generator, self.critic = Generator(config), Critic(config)
        self.average = Generator(config)
        betas = (config.train.beta_1, config.train.beta_2)
        self.critic_optimizer = torch.optim.Adam(
            self.critic.parameters(), config.train.critic_lr, betas
        )
        self.generator_optimizer = torch.optim.Adam(
            self.generator.parameters(), config.train.generator_lr, betas
        )

    def latents(self) -> torch.Tensor:
        shape = self.config.train.batch_size, self.config.model.latent_dim
        return torch.randn(*shape)

    def __call__(self, batches: torch.Tensor) -> None:
        for real in batches.split(self.config.train.batch_size):
            self._update_critic(real)
        loss = -self.critic(self.generator(self.latents())).mean()
        self.generator_optimizer.zero_grad()
        loss.backward()
        self.generator_optimizer.step()
        train = self.config.train
        decay = 0.5 ** (train.batch_size / train.ema_half_life_windows)
        with torch.no_grad():
            pairs = zip(
                self.average.parameters(),
                self.generator.parameters(),
                strict=True,
            )
            for average, value in pairs:
                average.lerp_(value, 1 - decay)

    def _update_critic(self, real: torch.Tensor) -> None:
        with torch.no_grad():
            fake = self.generator(self.latents())
        scores = self.critic(torch.cat([real, fake]))
        real_scores, fake_scores = scores.split(len(real))
        weights = torch.rand(len(real), 1, 1)
        # The operation counter does not support gradients of a leaf tensor.
        anchor = torch.zeros((), requires_grad=True)
        between = real + weights * (fake - real) + anchor
        (gradients,) = torch.autograd.grad(
            self.critic(between).sum(), between, create_graph=True
        )
        norms = (gradients.square().sum((1, 2)) + 1e-12).sqrt()
        penalty = (norms - 1).square().mean()
        loss = fake_scores.mean() - real_scores.mean()
        self.critic_optimizer.zero_grad()
        (loss + self.config.train.penalty_weight * penalty).backward()
        self.critic_optimizer.step()


class CompiledTorchStep(TorchStep):
    """`TorchStep` with compiled networks."""

    def __init__(self, config: Config):
        super().__init__(config)
        # The penalty needs the backward pass twice.
        torch._functorch.config.donated_buffer = False
        self.generator = torch.compile(self.generator)
        self.critic = torch.compile(self.critic)


class OurStep:
    """Keras' compiled train function with a fixed batch."""

    def __init__(self, config: Config, *changes: str, eager: bool = False):
        config = config_lib.from_dict(config.to_dict(), changes)
        self.model = build_wgan(config, Moments.neutral(config))
        self.model.run_eagerly = eager
        self.model.make_train_function()

    def __call__(self, batches: tf.Tensor) -> None:
        labels = tf.zeros([len(batches)], tf.int64)
        logs = self.model.train_function(iter([(batches, labels)]))
        float(logs["critic_loss"])


class ExampleShapedStep:
    """The loop as a popular Keras example writes it, in a tf.function.

    It calls the critic three times per update, and all critic updates of a
    step use the same real windows.
    """

    def __init__(self, config: Config):
        moments = Moments.neutral(config)
        self.config, model = config, build_wgan(config, moments)
        self.generator, self.critic = model.generator, model.critic
        self.critic_optimizer = model.critic_optimizer
        self.generator_optimizer = model.generator_optimizer
        self.step = tf.function(self._step)

    def __call__(self, batches: tf.Tensor) -> None:
        float(self.step(batches[: self.config.train.batch_size]))

    def _step(self, real: tf.Tensor) -> tf.Tensor:
        for _ in range(self.config.train.critic_steps):
            with tf.GradientTape() as tape:
                fake = self._fake(len(real))
                loss = tf.reduce_mean(self._score(fake))
                loss -= tf.reduce_mean(self._score(real))
                weights = tf.random.uniform([len(real), 1, 1])
                between = real + weights * (fake - real)
                with tf.GradientTape() as inner:
                    inner.watch(between)
                    scores = self._score(between)
                slopes = inner.gradient(scores, between)
                norms = tf.sqrt(tf.reduce_sum(slopes**2, [1, 2]) + 1e-12)
                loss += 10 * tf.reduce_mean((norms - 1) ** 2)
            self._apply(self.critic_optimizer, tape, loss, self.critic)
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(self._score(self._fake(len(real))))
        self._apply(self.generator_optimizer, tape, loss, self.generator)
        return loss

    def _fake(self, count: int) -> tf.Tensor:
        latents = tf.random.normal([count, self.config.model.latent_dim])
        return self.generator(latents, training=True)

    def _score(self, windows: tf.Tensor) -> tf.Tensor:
        return self.critic(windows[..., None], training=True)

    def _apply(self, optimizer, tape, loss, network) -> None:
        variables = network.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)


def step_flops(step: TorchStep, batches: torch.Tensor) -> int:
    """Floating-point operations of matrix products in one step."""
    with FlopCounterMode(display=False) as counter:
        step(batches)
    return counter.get_total_flops()


def matmul_peak() -> float:
    """Best FLOP/s of a large float32 matrix product, in TensorFlow."""
    size = 2048
    a = tf.random.stateless_normal([size, size], [0, 0])
    product = tf.function(lambda: tf.reduce_sum(tf.matmul(a, a)))
    times = [timed(lambda: product().numpy()) for _ in range(12)]
    return 2 * size**3 / min(times)


def timed(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def steps(config: Config) -> dict[str, tuple[object, str]]:
    """The rows: the step to time, and the framework of its windows."""
    rows = {
        "this project": (OurStep(config), "tf"),
        "bfloat16": (OurStep(config, "train.precision=mixed_bfloat16"), "tf"),
        "eager Keras": (OurStep(config, eager=True), "tf"),
        "XLA": (OurStep(config, "train.jit_compile=true"), "tf"),
        "Keras example": (ExampleShapedStep(config), "tf"),
        "PyTorch, eager": (TorchStep(config), "torch"),
    }
    return rows | {"PyTorch, compiled": (CompiledTorchStep(config), "torch")}


def warmed(
    rows: dict[str, tuple[object, str]], data: dict[str, object]
) -> dict[str, tuple[object, str]]:
    """Warms up; drops the rows that cannot run and prints why."""
    kept = {}
    for name, (step, kind) in rows.items():
        try:
            for _ in range(3):
                step(data[kind])
            kept[name] = step, kind
        except Exception as error:  # Compilers raise anything.
            reason = str(error).strip().splitlines()[0]
            print(f"{name}: does not run: {reason}")
    return kept


def input_rate(config: Config, root: Path, batches: int = 200) -> float:
    """Windows per second of the input pipeline alone."""
    shards = dataset.open_shards(root, config)
    stream = iter(dataset.training_batches(shards, config))
    next(stream)
    secs = timed(lambda: [next(stream) for _ in range(batches)])
    count = config.train.batch_size * config.train.critic_steps
    return batches * count / secs


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    parser = cli.parser(__doc__, EXAMPLE)
    parser.add_argument(
        "--rounds", type=int, default=5, help="timed rounds (default: 5)"
    )
    parser.add_argument(
        "--steps", type=int, default=10, help="steps in a round (default: 10)"
    )
    parser.add_argument(
        "--data", metavar="DIR", help="a data set, to time the input as well"
    )
    config_lib.add_arguments(parser, default="digits8k")
    return cli.run_command(_run, parser.parse_args(argv))


def _run(args: argparse.Namespace) -> int:
    config = config_lib.load(args.config, [*_SAME, *args.set])
    if min(args.rounds, args.steps) < 1:
        raise UsageError("--rounds and --steps: expected at least 1")
    if args.print_config:
        return config_lib.print_config(config)
    if config.model.networks != "frames" or config.train.loss != "wgan-gp":
        raise UsageError(
            "the PyTorch rows only have the frames networks and wgan-gp"
        )
    count = config.train.batch_size * config.train.critic_steps
    rng = np.random.default_rng(0)
    windows = np.float32(rng.uniform(-1, 1, (count, *config.window_shape)))
    transposed = torch.from_numpy(windows.transpose(0, 2, 1).copy())
    data = {"tf": tf.constant(windows), "torch": transposed}
    flops = step_flops(TorchStep(config), transposed) / count
    rows = warmed(steps(config), data)
    rates, peaks = {name: [] for name in rows}, []
    for _ in range(args.rounds):
        for name, (step, kind) in rows.items():
            secs = timed(lambda: [step(data[kind]) for _ in range(args.steps)])  # noqa: B023
            rates[name].append(args.steps * count / secs)
        peaks.append(matmul_peak())
    report(config, rates, flops, peaks)
    if args.data:
        print(f"input alone: {input_rate(config, args.data):.0f} windows/s")
    return 0


def report(
    config: Config,
    rates: dict[str, list[float]],
    flops: float,
    peaks: list[float],
) -> None:
    """Prints medians, ratios round by round, and the share of the peak."""
    peak = statistics.median(peaks)
    print(
        f"TensorFlow {tf.__version__}, PyTorch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, batch {config.train.batch_size}, "
        f"{flops / 1e9:.2f} GFLOP per window, "
        f"matmul peak {peak / 1e9:.0f} GFLOP/s"
    )
    ours = rates["this project"]
    for name, values in rates.items():
        rate = statistics.median(values)
        ratios = [a / b for a, b in zip(ours, values, strict=True)]
        print(
            f"{name:18s} {rate:6.0f} windows/s  "
            f"({min(values):.0f} to {max(values):.0f})  "
            f"{100 * rate * flops / peak:3.0f} % of the peak  "
            f"this project is {statistics.median(ratios):.2f} times as fast"
        )


if __name__ == "__main__":
    sys.exit(main())
