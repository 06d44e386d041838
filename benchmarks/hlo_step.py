"""Writes a whole training step as a program that JAX runs, on any device.

For a machine with a GPU and JAX, but no TensorFlow: this script runs here, on
the CPU, and `hlo_run.py` there, with the folders that this one writes. The
program is what XLA is given under `train.jit_compile: true`: all critic
updates, the generator's, both optimizers, the average, augmentation.
Its random bits are computed within it, so that its results here and there can
be compared.

    pip install -e .
    python benchmarks/hlo_step.py --batch_size 64 256 --output hlo

Each of hlo/batch_64 and hlo/batch_256 then holds

    step.hlo.pb   the program, a serialized HloModuleProto
    inputs.npz    its parameters in order, arr_0 and on: windows, labels, then
                  the variables
    expected.npz  of each result up to 16384 values, evenly spaced: means of
                  losses and norms, then the variables that the step changes
    meta.json     sizes, operations, names, and which result is which
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

from stftgan_tf import cli, train
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.errors import UserError
from stftgan_tf.files import published_dir
from stftgan_tf.models import networks, wgan

EXAMPLE = "python benchmarks/hlo_step.py --batch_size 64 256 --output hlo"

# Labels or clusters of a conditional model; there is no data to count them in.
_CLASSES = 10

# Values kept of a result: enough to compare, and the files stay small.
_KEPT = 16384


class Step:
    """One training step of a fresh model over a fixed batch.

    Attributes:
      names: of the program's parameters, in order.
      result_names: of its results, in order.
      updates: by result, the parameter of the next step that it is.
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
        """Takes the step; returns the program's results."""
        returned = tf.nest.flatten(self._function(self._batch))
        updated = [self._parameters[i] for i in self.updates.values()]
        return [value.numpy() for value in [*returned, *updated]]

    def program(self) -> bytes:
        """The step as a serialized HloModuleProto."""
        return self._program("hlo_serialized")

    def inputs(self) -> list[np.ndarray]:
        """What the program's parameters hold now."""
        return [value.numpy() for value in self._parameters]

    def shorten(self) -> None:
        """Rounds all variables to bfloat16, which halves the files.

        Not single numbers: a learning rate stays what it is.
        """
        for value in self._parameters[2:]:
            if isinstance(value, tf.Variable) and _is_wide(value):
                value.assign(_short(value))

    def _program(self, stage: str) -> Any:
        compiled = self._function.experimental_get_compiler_ir(self._batch)
        return compiled(stage=stage)

    def _check(self, text: str, returned: int) -> None:
        """Raises UserError where the program is not what we take it for."""
        # What XLA needs as a constant is no parameter: it compiles anew for
        # each value.
        entry = text[text.index("\nENTRY ") :]
        if entry.count(" parameter(") != len(self.names):
            raise UserError("some variables are constants to XLA")
        # What is returned comes first; the updated variables end the list.
        ends = range(returned, returned + len(self.updates))
        if not self.updates or list(self.updates) != list(ends):
            raise UserError(f"unexpected aliases: {self.updates}")


def captured(graph: Any) -> list[tf.Variable | tf.Tensor]:
    """What a concrete function reads beside its arguments, in XLA's order."""
    variables = {id(v.handle): v for v in graph.variables}
    return [variables.get(id(x), x) for x in graph.captured_inputs]


def find_updates(text: str) -> dict[int, int]:
    """The parameter that each result replaces, as the HLO's head names them."""
    head = text.split("\n", 1)[0]
    pairs = re.findall(r"\{(\d+)\}: \((\d+), \{\}, may-alias\)", head)
    return {int(result): int(parameter) for result, parameter in pairs}


def make_batch(config: Config) -> tuple[tf.Tensor, tf.Tensor]:
    """Noise for windows, float32 [critic_steps * B, T, F], and labels.
    """
    count = windows_per_step(config)
    rng = np.random.default_rng(0)
    windows = rng.uniform(-1, 1, (count, *config.window_shape))
    labels = rng.integers(_CLASSES, size=count)
    return _short(tf.constant(windows)), tf.constant(labels, tf.int64)


def windows_per_step(config: Config) -> int:
    """Real windows that one step sees."""
    return config.train.batch_size * config.train.critic_steps


def steps_in_cycle(config: Config) -> int:
    """Steps after which the penalty's turns repeat."""
    every = config.train.penalty_interval
    return every // math.gcd(every, config.train.critic_steps)


def step_flops(config: Config, model: wgan.WGAN) -> float:
    """Floating-point operations of a mean step's matrix products.

    Estimated from the forward pass: of a network's backward pass, gradients of
    weights and of inputs cost as much each, and so do those of the penalty's
    gradient. Nothing else is counted.
    """
    batch, loss = config.train.batch_size, config.train.loss
    made = 2 * networks.macs(model.generator)
    scored = 2 * networks.macs(model.critic)
    # The relativistic loss has real windows in both of these, too.
    both = loss == "rpgan-r1r2"
    penalty = 0 if loss == "wgan" else 4 * (1 + both) * scored
    critic = made + 6 * scored + penalty / config.train.penalty_interval
    generator = 3 * made + (2 + both) * scored
    return batch * (config.train.critic_steps * critic + generator)


def thinned(values: np.ndarray, most: int) -> np.ndarray:
    """Evenly spaced values of an array, at most so many, as [N]."""
    return values.ravel()[:: -(-values.size // most)]


def write(folder: Path, config: Config) -> None:
    """Writes program, parameters, results and meta.json into a folder."""
    step = Step(config)
    # So that no two variables are alike, which would hide a wrong order, and
    # that the step compared has a penalty.
    for _ in range(steps_in_cycle(config)):
        step()
    step.shorten()
    np.savez_compressed(folder / "inputs.npz", *step.inputs())
    kept = [thinned(x, _KEPT) for x in step()]
    np.savez_compressed(folder / "expected.npz", *kept)
    (folder / "step.hlo.pb").write_bytes(step.program())
    text = json.dumps(describe(step, config), indent=1) + "\n"
    (folder / "meta.json").write_text(text, encoding="utf-8")


def describe(step: Step, config: Config) -> dict[str, Any]:
    """What meta.json says."""
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
        help="one folder for each (default: that of the config)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="where the folders batch_<size> go",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what stands there"
    )
    return parser


def _run(args: argparse.Namespace) -> int:
    base = config_lib.load(args.config, args.set)
    if args.print_config:
        return config_lib.print_config(base)
    sizes = args.batch_size or [base.train.batch_size]
    configs = [_with_batch(args, size) for size in sizes]
    for config in configs:
        folder = args.output / f"batch_{config.train.batch_size}"
        with published_dir(folder, "meta.json", args.overwrite) as staging:
            write(staging, config)
        print(folder, flush=True)
    return 0


def _with_batch(args: argparse.Namespace, size: int) -> Config:
    ours = [f"train.batch_size={size}", "train.jit_compile=true"]
    return config_lib.load(args.config, [*args.set, *ours])


def _name(value: tf.Variable | tf.Tensor) -> str:
    return getattr(value, "name", "constant").removesuffix(":0")


def _is_wide(value: tf.Variable) -> bool:
    return value.dtype == tf.float32 and value.shape.rank > 0


def _short(values: Any) -> tf.Tensor:
    """The nearest bfloat16 values, as float32."""
    return tf.cast(tf.cast(values, tf.bfloat16), tf.float32)


if __name__ == "__main__":
    # The program is written, and its results are found, on the CPU.
    tf.config.set_visible_devices([], "GPU")
    sys.exit(main())
