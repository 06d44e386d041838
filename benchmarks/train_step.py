"""Windows a second of the training step: ours against eager PyTorch.

The same networks, loss and loop, side by side in one run, in turns, so that a
drifting machine slows both. Also: which share of the machine's measured peak
of matrix multiplication the step reaches.

    pip install -e '.[benchmarks]'
    python benchmarks/train_step.py
"""

import argparse
import statistics
import time

import numpy as np
import tensorflow as tf
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from stftgan_tf import config as config_lib
from stftgan_tf import train
from stftgan_tf.config import Config


class Doubled(nn.Module):
    """Repeats every frame, as UpSampling1D(2) does."""

    def forward(self, x):
        return x.repeat_interleave(2, dim=2)


class Critic(nn.Module):
    """The `frames` critic, [B, F, T] -> [B, 1]."""

    def __init__(self, config: Config):
        super().__init__()
        width, kernel = config.model.critic.width, config.model.critic.kernel
        frames, bins = config.window_shape
        layers = [nn.Conv1d(bins, width, 3, padding=1), nn.LeakyReLU(0.2)]
        for _ in range(config.model.halvings):
            layers += [
                nn.Conv1d(width, width, kernel, 2, padding=kernel // 2),
                nn.LeakyReLU(0.2),
            ]
        last = frames // 2**config.model.halvings * width
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(last, 1))

    def forward(self, x):
        return self.layers(x)


class Generator(nn.Module):
    """The `frames` generator, [B, Z] -> [B, F, T]."""

    def __init__(self, config: Config):
        super().__init__()
        model, (frames, bins) = config.model, config.window_shape
        width, kernel = model.generator.width, model.generator.kernel
        base = frames // 2**model.halvings
        layers = [
            nn.Linear(model.latent_dim, base * width),
            nn.Unflatten(1, (width, base)),
        ]
        for _ in range(model.halvings):
            layers += [
                Doubled(),
                nn.Conv1d(width, width, kernel, padding=kernel // 2),
                nn.LeakyReLU(0.2),
            ]
        layers += [nn.Conv1d(width, bins, 3, padding=1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x)


class TorchStep:
    """One training step of the same loop in eager PyTorch."""

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
        decay = self.config.train.ema_decay
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
        # The operation counter takes no gradient of a leaf; this is none.
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


class OurStep:
    """Keras' own compiled train function over a fixed batch."""

    def __init__(self, config: Config):
        self.model = train.build(config)
        self.model.make_train_function()

    def __call__(self, batches: tf.Tensor) -> None:
        logs = self.model.train_function(iter([batches]))
        float(logs["critic_loss"])


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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=15, help="a round")
    config_lib.add_arguments(parser, default="digits8k")
    args = parser.parse_args()
    config = config_lib.load(args.config, args.set)
    if config.model.networks != "frames" or config.train.loss != "wgan-gp":
        parser.error("PyTorch's side has the frames networks and wgan-gp only")
    count = config.train.batch_size * config.train.critic_steps
    rng = np.random.default_rng(0)
    windows = np.float32(rng.uniform(-1, 1, (count, *config.window_shape)))
    ours, theirs = OurStep(config), TorchStep(config)
    their_windows = torch.from_numpy(windows.transpose(0, 2, 1).copy())
    our_windows = tf.constant(windows)
    flops = step_flops(theirs, their_windows)
    for _ in range(3):
        ours(our_windows)
        theirs(their_windows)
    rates = {"ours": [], "torch": []}
    peaks = []
    for _ in range(args.rounds):
        for name, step, data in (
            ("ours", ours, our_windows),
            ("torch", theirs, their_windows),
        ):
            secs = timed(lambda: [step(data) for _ in range(args.steps)])  # noqa: B023
            rates[name].append(args.steps * count / secs)
        peaks.append(matmul_peak())
    report(config, rates, flops / count, peaks)


def report(
    config: Config,
    rates: dict[str, list[float]],
    flops: float,
    peaks: list[float],
) -> None:
    """Prints medians, the ratio round by round, and the share of the peak."""
    ratios = [a / b for a, b in zip(rates["ours"], rates["torch"], strict=True)]
    peak = statistics.median(peaks)
    print(
        f"TensorFlow {tf.__version__}, PyTorch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, batch {config.train.batch_size}, "
        f"{flops / 1e9:.2f} GFLOP a window, "
        f"matmul peak {peak / 1e9:.0f} GFLOP/s"
    )
    for name, label in (("ours", "this project"), ("torch", "PyTorch, eager")):
        rate = statistics.median(rates[name])
        print(
            f"{label:15s} {rate:6.0f} windows/s  "
            f"({min(rates[name]):.0f} to {max(rates[name]):.0f})  "
            f"{100 * rate * flops / peak:.0f} % of the peak"
        )
    print(
        f"ratio           {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
