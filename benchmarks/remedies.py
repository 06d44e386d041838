"""What each loss and remedy alone makes of a data set.

Every row is the config's networks and rates with plain `wgan-gp`, changed in
one thing and in what goes with it (rates of a clipped WGAN, the weight of a
penalty), from the same seed; its critic sees the same number of windows as any
other's. A collapse ends none of them. Trained, exported and evaluated by the
project's own commands; each keeps its run, export and figures below --output,
and is not done again.

    python benchmarks/remedies.py --data tfrecords/fsdd --output runs/alone
    python benchmarks/remedies.py --data tfrecords/fsdd --output runs/alone \\
        --updates 1500 --rows wgan-gp pac_size
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

# Of what `digits8k` and its like turn on.
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

# What each row changes; `config` is the config as it stands.
ROWS = {
    "wgan-gp": [],
    "clipped wgan": _CLIPPED,
    "wgan-lp": ["train.loss=wgan-lp"],
    "wgan-div": ["train.loss=wgan-div", "train.penalty_weight=2"],
    "rpgan-r1r2": ["train.loss=rpgan-r1r2", "train.penalty_weight=1"],
    "pac_size": ["model.pac_size=2"],
    "stddev": ["model.minibatch_stddev=4"],
    "no average": ["train.ema_half_life_windows=0"],
    "5 critic steps": ["train.critic_steps=5"],
    "two time scales": ["train.critic_lr=TWICE"],
    "spectral norm": ["model.spectral_norm=true", "train.penalty_weight=0.1"],
    "drift": ["train.drift_weight=0.001"],
    "augmentation": ["augment.target=0.6"],
    "clusters": ["model.condition=cluster", "model.clusters=50"],
    "labels": ["model.condition=label"],
    "config": ["watch.on_collapse=warn"],
}

_FIGURES = [
    ("ndb", "NDB"),
    ("diversity_ratio", "spread"),
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
    """(values of `--set`, generator updates) of a row.

    Args:
      name: of the row.
      config: that the rows are made from.
      updates: of the critic, each of one batch.

    Raises:
      ConfigError: the config does not take the row's changes.
    """
    twice = 2 * config_lib.load(config).train.critic_lr
    values = [text.replace("TWICE", str(twice)) for text in ROWS[name]]
    if name != "config":
        values = [*_PLAIN, *values]
    steps = updates // config_lib.load(config, values).train.critic_steps
    return values, max(1, steps)


def figures(folder: Path, name: str, args: argparse.Namespace) -> dict:
    """Trains a row, unless that is done, and returns what `evaluate` says."""
    run, export = folder / "run", folder / "export"
    evaluation = folder / "evaluation"
    values, steps = changes(name, args.config, args.updates)
    train = [f"--config={args.config}", f"--data={args.data}", f"--run={run}"]
    train += [f"--set={value}" for value in [*values, f"train.steps={steps}"]]
    if (run / "config.yaml").exists():
        # A run of another config or of other data is refused.
        train.append("--resume")
    _done("train", train)
    if not evaluation.is_dir():
        shutil.rmtree(export, ignore_errors=True)
        _done("export", [f"--run={run}", f"--output={export}"])
        told = [f"--data={args.data}", f"--output={evaluation}"]
        _done("evaluate", [f"--model={export}", *told])
    return json.loads((evaluation / "evaluation.json").read_text())


def _done(command: str, flags: list[str]) -> None:
    code = importlib.import_module(f"stftgan_tf.{command}").main(flags)
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise UserError(f"{command} ended with {code}, see above")


def line(name: str, row: dict) -> str:
    """A row of the table; figures that the data cannot have are a dash."""
    values = (row.get(key) for key, _ in _FIGURES)
    cells = ["-" if v is None else f"{v:.4g}" for v in values]
    return " | ".join([name, *cells])


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", required=True, help="a data set")
    parser.add_argument("--output", type=Path, required=True, help="a folder")
    parser.add_argument(
        "--config", default="digits8k", help="of the rows (default: digits8k)"
    )
    parser.add_argument(
        "--updates",
        type=int,
        default=1000,
        help="of the critic, a batch each (default: 1000)",
    )
    parser.add_argument(
        "--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW"
    )
    return cli.run_command(_run, parser.parse_args(argv))


def _run(args: argparse.Namespace) -> int:
    if args.updates < 1:
        raise UsageError(f"--updates is {args.updates}; expected 1 or more")
    for name in args.rows:
        changes(name, args.config, args.updates)
    found = {}
    for name in args.rows:
        folder = args.output / f"{name.replace(' ', '_')}-{args.updates}"
        found[name] = figures(folder, name, args)
        print(line(name, found[name]["generated"]), flush=True)
    print(" | ".join(["", *(label for _, label in _FIGURES)]))
    print(line("real, held out", found[args.rows[0]]["real"]))
    for name, told in found.items():
        print(line(name, told["generated"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
