"""Measures what each loss and remedy against collapse does by itself.

Every row trains the config's networks with plain `wgan-gp`, changed in one
respect and in what that requires (rates of a clipped WGAN, the weight of a
penalty), with the same seed and the same number of windows for the critic. A
collapse does not stop a training. The project's own commands train, export and
evaluate; run, export and figures of each row are kept below --output, and a
finished row is not repeated.
"""

import argparse
import importlib
import json
import shutil
import sys
from pathlib import Path

from stftgan_tf import cli
from stftgan_tf import config as config_lib
from stftgan_tf.errors import UsageError, UserError

EXAMPLE = (
    "python benchmarks/remedies.py --data tfrecords/fsdd --output runs/alone "
    "--rows wgan-gp labels"
)

# Turns off what `digits8k` and similar configs turn on.
_PLAIN = [
    "train.loss=wgan-gp",
    "train.penalty_weight=10",
    "train.penalty_interval=1",
    "model.condition=none",
    "augment.target=0",
    "watch.on_collapse=warn",
]

_CLIPPED = [
    "train.loss=wgan",
    "train.optimizer=rmsprop",
    "train.generator_lr=5e-5",
    "train.critic_lr=5e-5",
    "train.critic_steps=5",
]

# What each row changes; `config` is the unchanged config.
ROWS = {
    "wgan-gp": [],
    "clipped wgan": _CLIPPED,
    "rpgan-r1r2": ["train.loss=rpgan-r1r2", "train.penalty_weight=1"],
    "stddev": ["model.minibatch_stddev=4"],
    "no average": ["train.ema_half_life_windows=0"],
    "5 critic steps": ["train.critic_steps=5"],
    "two time scales": ["train.critic_lr=TWICE"],
    "augmentation": ["augment.target=0.6"],
    "clusters": ["model.condition=cluster", "model.clusters=50"],
    "labels": ["model.condition=label"],
    "config": ["watch.on_collapse=warn"],
}

_FIGURES = [
    ("ndb", "NDB"),
    ("diversity_ratio", "diversity"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("density", "density"),
    ("coverage", "coverage"),
    ("frechet", "Frechet"),
    ("consistency", "consistency"),
    ("inception_score", "IS"),
    ("fid", "FID"),
]


def changes(name: str, config: str, updates: int) -> tuple[list[str], int]:
    """Values for `--set`, and the number of generator updates of a row.

    Args:
      name: name of the row.
      config: name of the config that rows change.
      updates: critic updates, each with one batch.

    Raises:
      ConfigError: if the config does not allow the row's changes.
    """
    twice = 2 * config_lib.load(config).train.critic_lr
    values = [text.replace("TWICE", str(twice)) for text in ROWS[name]]
    if name != "config":
        values = [*_PLAIN, *values]
    steps = updates // config_lib.load(config, values).train.critic_steps
    return values, max(1, steps)


def figures(directory: Path, name: str, args: argparse.Namespace) -> dict:
    """Trains and evaluates a row if necessary; returns its figures."""
    run, export = directory / "run", directory / "export"
    evaluation = directory / "evaluation"
    values, steps = changes(name, args.config, args.updates)
    train = [f"--config={args.config}", f"--data={args.data}", f"--run={run}"]
    train += [f"--set={value}" for value in [*values, f"train.steps={steps}"]]
    if (run / "config.yaml").exists():
        # A run with a different config or data set is refused.
        train.append("--resume")
    _call("train", train)
    if not evaluation.is_dir():
        shutil.rmtree(export, ignore_errors=True)
        _call("export", [f"--run={run}", f"--output={export}"])
        flags = [f"--data={args.data}", f"--output={evaluation}"]
        _call("evaluate", [f"--model={export}", *flags])
    return json.loads((evaluation / "evaluation.json").read_text())


def _call(command: str, flags: list[str]) -> None:
    code = importlib.import_module(f"stftgan_tf.{command}").main(flags)
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise UserError(f"{command} failed with exit code {code}, see above")


def line(name: str, row: dict) -> str:
    """A row of the table; a figure that does not exist is a dash."""
    values = (row.get(key) for key, _ in _FIGURES)
    cells = ["-" if v is None else f"{v:.4g}" for v in values]
    return " | ".join([name, *cells])


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    parser = cli.parser(__doc__, EXAMPLE)
    parser.add_argument(
        "--data", required=True, metavar="DIR", help="a data set"
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="directory for runs, exports and figures",
    )
    parser.add_argument(
        "--config",
        default="digits8k",
        metavar="NAME_OR_FILE",
        help="config that the rows change (default: digits8k)",
    )
    parser.add_argument(
        "--updates",
        type=int,
        default=1000,
        help="critic updates of each row (default: 1000)",
    )
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=ROWS,
        default=list(ROWS),
        metavar="ROW",
        help=f"rows of the table (default: all of {', '.join(ROWS)})",
    )
    return cli.run_command(_run, parser.parse_args(argv))


def _run(args: argparse.Namespace) -> int:
    if args.updates < 1:
        raise UsageError(f"--updates is {args.updates}; expected 1 or more")
    for name in args.rows:
        changes(name, args.config, args.updates)
    results = {}
    for name in args.rows:
        directory = args.output / f"{name.replace(' ', '_')}-{args.updates}"
        results[name] = figures(directory, name, args)
        print(line(name, results[name]["generated"]), flush=True)
    print(" | ".join(["", *(label for _, label in _FIGURES)]))
    print(line("real, held out", results[args.rows[0]]["real"]))
    for name, result in results.items():
        print(line(name, result["generated"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
