"""Writes a whole training step as a program that JAX can run on any device.

It serves machines that have a GPU and JAX, but no TensorFlow. This script runs
on a CPU here; `hlo_run.py` runs there, with the directories that this script
writes. The program is what XLA compiles with `train.jit_compile: true`: all
critic updates, the generator update, both optimizers, the average and
augmentation. It computes its random bits itself, so that results of two
machines can be compared.

Each of hlo/batch_64 and hlo/batch_256 contains

    step.hlo.pb   the program, a serialized HloModuleProto
    inputs.npz    its parameters in order, arr_0 and so on: windows, labels,
                  then the variables
    expected.npz  up to 16384 evenly spaced values of each result: means of
                  losses and norms, then the variables that the step changes
    meta.json     sizes, operations, names, and which result becomes which
                  parameter of the next step
"""

import argparse
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from stftgan_tf import cli
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.errors import UserError
from stftgan_tf.files import DirectoryKind, published_dir
from stftgan_tf.models import networks
from stftgan_tf.models.build import build_wgan
from stftgan_tf.models.wgan import WGAN

EXAMPLE = "python benchmarks/hlo_step.py --batch_size 64 256 --output hlo"

# Classes of a conditional model, because there is no data to count them in.
_CLASSES = 10

KIND = DirectoryKind(
    "meta.json",
    ("meta.json", "inputs.npz", "expected.npz", "step.hlo.pb"),
    '"steps_in_cycle"',
)

# Values kept of a result: enough to compare, few enough for small files.
_KEPT = 16384


class Step:
    """One training step of a fresh model over a fixed batch.

    Attributes:
      names: of the program's parameters, in order.
      result_names: of its results, in order.
      updates: for each changed variable, the index of the result and that of
        the parameter of the next step.
    """

    def __init__(self, config: Config):
        classes = _CLASSES if config.model.condition != "none" else 0
        moments = Moments.neutral(config)
        self.model = build_wgan(config, moments, classes)
        self._batch = make_batch(config)
        self._function = tf.function(self.model.train_step, jit_compile=True)
        graph = self._function.get_concrete_function(self._batch)
        self._parameters = [*self._batch, *captured(graph)]
        returned = sorted(graph.structured_outputs)
        self.names = ["windows", "labels", *map(_name, self._parameters[2:])]
        text = self._program("hlo")
        self.updates = find_updates(text)
        self._check(text, len(returned))
        updated = [self.names[i] for i in self.updates.values()]
        self.result_names = [*returned, *updated]

    def __call__(self) -> list[np.ndarray]:
        """Runs the step and returns the program's results."""
        returned = tf.nest.flatten(self._function(self._batch))
        updated = [self._parameters[i] for i in self.updates.values()]
        return [value.numpy() for value in [*returned, *updated]]

    def program(self) -> bytes:
        """The step as a serialized HloModuleProto."""
        return self._program("hlo_serialized")

    def inputs(self) -> list[np.ndarray]:
        """The current values of the program's parameters."""
        return [value.numpy() for value in self._parameters]

    def shorten(self) -> None:
        """Rounds all variables to bfloat16, which halves the files.

        Scalars, such as learning rates, keep their values.
        """
        for value in self._parameters[2:]:
            if isinstance(value, tf.Variable) and _is_wide(value):
                value.assign(_short(value))

    def _program(self, stage: str) -> Any:
        compiled = self._function.experimental_get_compiler_ir(self._batch)
        return compiled(stage=stage)

    def _check(self, text: str, returned: int) -> None:
        """Raises UserError if the program has an unexpected form."""
        # XLA would compile the program again for each value of a constant.
        entry = text[text.index("\nENTRY ") :]
        if entry.count(" parameter(") != len(self.names):
            raise UserError("some variables are constants to XLA")
        # Returned values come first, updated variables last.
        ends = range(returned, returned + len(self.updates))
        if not self.updates or list(self.updates) != list(ends):
            raise UserError(f"unexpected aliases: {self.updates}")


def captured(graph: Any) -> list[tf.Variable | tf.Tensor]:
    """What a concrete function reads besides its arguments, in XLA's order."""
    variables = {id(v.handle): v for v in graph.variables}
    return [variables.get(id(x), x) for x in graph.captured_inputs]


def find_updates(text: str) -> dict[int, int]:
    """The parameter that each result replaces, parsed from the HLO's head."""
    head = text.split("\n", 1)[0]
    pairs = re.findall(r"\{(\d+)\}: \((\d+), \{\}, may-alias\)", head)
    return {int(result): int(parameter) for result, parameter in pairs}


def make_batch(config: Config) -> tuple[tf.Tensor, tf.Tensor]:
    """Random windows float32 [critic_steps * B, T, F], and labels."""
    count = windows_per_step(config)
    rng = np.random.default_rng(0)
    windows = rng.uniform(-1, 1, (count, *config.window_shape))
    labels = rng.integers(_CLASSES, size=count)
    return _short(tf.constant(windows)), tf.constant(labels, tf.int64)


def windows_per_step(config: Config) -> int:
    """Number of real windows in one step."""
    return config.train.batch_size * config.train.critic_steps


def steps_in_cycle(config: Config) -> int:
    """Number of steps after which the schedule of the penalty repeats."""
    every = config.train.penalty_interval
    return every // math.gcd(every, config.train.critic_steps)


def step_flops(config: Config, model: WGAN) -> float:
    """Floating-point operations in the matrix products of an average step.

    Estimated from the forward pass: in a network's backward pass, the
    gradients of weights and those of inputs cost as much each, and so do those
    of the penalty's gradient. Nothing else is counted.
    """
    batch, loss = config.train.batch_size, config.train.loss
    generate = 2 * networks.macs(model.generator)
    critics = filter(None, (model.critic, model.texture_critic))
    score = 2 * sum(map(networks.macs, critics))
    # The relativistic loss scores real windows in the generator update, too,
    # and its penalty covers real and generated windows.
    both = loss == "rpgan-r1r2"
    penalty = 0 if loss == "wgan" else 4 * (1 + both) * score
    critic = generate + 6 * score + penalty / config.train.penalty_interval
    generator = 3 * generate + (2 + both) * score
    return batch * (config.train.critic_steps * critic + generator)


def thinned(values: np.ndarray, limit: int) -> np.ndarray:
    """At most `limit` evenly spaced values of an array, as [N]."""
    return values.ravel()[:: -(-values.size // limit)]


def write(directory: Path, config: Config) -> None:
    """Writes program, parameters, results and meta.json into a directory."""
    step = Step(config)
    # Equal variables would hide a wrong order; after a whole cycle, the step
    # that is compared includes a penalty.
    for _ in range(steps_in_cycle(config)):
        step()
    step.shorten()
    np.savez_compressed(directory / "inputs.npz", *step.inputs())
    kept = [thinned(x, _KEPT) for x in step()]
    np.savez_compressed(directory / "expected.npz", *kept)
    (directory / "step.hlo.pb").write_bytes(step.program())
    text = json.dumps(describe(step, config), indent=1) + "\n"
    (directory / "meta.json").write_text(text, encoding="utf-8")


def describe(step: Step, config: Config) -> dict[str, Any]:
    """The content of meta.json."""
    return {
        "batch_size": config.train.batch_size,
        "windows_per_step": windows_per_step(config),
        "flops_per_step": step_flops(config, step.model),
        "steps_in_cycle": steps_in_cycle(config),
        "precision": config.train.precision,
        "tensorflow": tf.__version__,
        "parameters": step.names,
        "results": step.result_names,
        "updates": step.updates,
        "values_kept": _KEPT,
    }


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    return cli.run_command(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    config_lib.add_arguments(parser, default="digits8k")
    parser.add_argument(
        "--batch_size",
        type=int,
        nargs="+",
        help="one directory for each batch size (default: that of the config)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="where the directories batch_<size> are written",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace existing directories"
    )
    return parser


def _run(args: argparse.Namespace) -> int:
    base = config_lib.load(args.config, args.set)
    if args.print_config:
        return config_lib.print_config(base)
    sizes = args.batch_size or [base.train.batch_size]
    configs = [_with_batch(args, size) for size in sizes]
    for config in configs:
        directory = args.output / f"batch_{config.train.batch_size}"
        with published_dir(directory, KIND, args.overwrite) as staging:
            write(staging, config)
        print(directory, flush=True)
    return 0


def _with_batch(args: argparse.Namespace, size: int) -> Config:
    changes = [f"train.batch_size={size}", "train.jit_compile=true"]
    return config_lib.load(args.config, [*args.set, *changes])


def _name(value: tf.Variable | tf.Tensor) -> str:
    return getattr(value, "name", "constant").removesuffix(":0")


def _is_wide(value: tf.Variable) -> bool:
    return value.dtype == tf.float32 and value.shape.rank > 0


def _short(values: Any) -> tf.Tensor:
    """The nearest bfloat16 values, as float32."""
    return tf.cast(tf.cast(values, tf.bfloat16), tf.float32)


if __name__ == "__main__":
    # The program and the expected results are those of the CPU.
    tf.config.set_visible_devices([], "GPU")
    sys.exit(main())
