"""Measures an export's variety against the evaluation split.

Every figure stands next to that of real windows, so that one sees what is
possible: a row of real evaluation windows held against the training split,
and a row of generated ones.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from stftgan_tf import cli, dataset, exported, metrics
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config

EXAMPLE = (
    "python -m stftgan_tf.evaluate --model exports/digits "
    "--data tfrecords/digits"
)

_BATCH = 32


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    return cli.guarded(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    parser.add_argument(
        "--model",
        type=Path,
        default=Path("exports/demo"),
        help="the export (default: exports/demo)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("tfrecords/demo"),
        help="the data set (default: tfrecords/demo)",
    )
    parser.add_argument(
        "--output", type=Path, help="also write the figures to this JSON file"
    )
    config_lib.add_arguments(parser, default=None)
    return parser


def _run(args: argparse.Namespace) -> int:
    model = exported.load(args.model)
    config = _config(args, model)
    if args.print_config:
        print(config.to_yaml(), end="")
        return 0
    shards = dataset.open_shards(args.data, config)
    with dataset.damage_named(shards):
        report = evaluate(model, shards, config)
    for row in ("real", "generated"):
        print(row, json.dumps(report[row]))
    if args.output:
        text = json.dumps(report, indent=1) + "\n"
        cli.write_atomically(args.output, text.encode())
    return 0


def _config(args: argparse.Namespace, model: exported.Export) -> Config:
    """The export's own config, or the one asked for."""
    if args.config:
        return config_lib.load(args.config, args.set)
    return config_lib.from_dict(model.metadata["config"], args.set)


def evaluate(
    model: exported.Export, shards: dataset.Shards, config: Config
) -> dict[str, Any]:
    """Figures of real evaluation windows and of generated ones.

    Returns:
      `real` and `generated`, each with `windows`, `ndb` (of `clusters`),
      `jensen_shannon`, `diversity_ratio` and, where the data is labelled,
      `labels` (share of each) and for real windows `judge_accuracy`.

    Raises:
      UserError: if the training split has fewer windows than clusters, or
        the evaluation split is empty.
    """
    settings = config.evaluate
    total = shards.windows("train")
    train, train_labels = dataset.load_windows(shards, config, "train", total)
    real, real_labels = dataset.load_windows(
        shards, config, "eval", settings.samples
    )
    if len(train) < settings.clusters or len(real) < 2:
        raise cli.UserError(
            f"{shards.root} has {len(train)} training and {len(real)} "
            f"evaluation windows; expected at least {settings.clusters} "
            "(evaluate.clusters) and 2"
        )
    bins = metrics.BinTest(train, settings.clusters, settings.seed)
    fake = _generate(model, settings.samples, settings.seed)
    report = {"model": str(model.path), "clusters": settings.clusters}
    for name, windows in (("real", real), ("generated", fake)):
        found = bins.compare(windows)
        report[name] = {
            "windows": len(windows),
            "ndb": found.different,
            "jensen_shannon": round(found.jensen_shannon, 4),
            "diversity_ratio": round(metrics.diversity_ratio(windows, real), 4),
        }
    known = train_labels >= 0
    if len(np.unique(train_labels[known])) > 1:
        judge = metrics.LabelJudge(train[known], train_labels[known])
        report["real"]["judge_accuracy"] = round(
            judge.accuracy(real, real_labels), 4
        )
        for name, windows in (("real", real), ("generated", fake)):
            names = shards.manifest["labels"]
            shares = judge.shares(windows, len(names)).round(4).tolist()
            report[name]["labels"] = dict(zip(names, shares, strict=True))
    return report


def _generate(model: exported.Export, count: int, seed: int) -> np.ndarray:
    """Windows [count, T, F] of the export."""
    progress = cli.Progress("sample", count, "windows")
    windows, done = [], 0
    for batch in model.batches(seed, count, _BATCH):
        windows.append(batch["window"])
        done += len(batch["window"])
        progress.update(done)
    progress.close(done)
    return np.concatenate(windows)


if __name__ == "__main__":
    sys.exit(main())
