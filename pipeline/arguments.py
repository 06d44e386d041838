"""Flags that several commands of the pipeline share."""

import argparse
import difflib
import re

from stftgan_tf.errors import UsageError

# Similarity of a misspelled flag; no flag of Beam is this close to ours.
_SIMILAR = 0.85


def add_source(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that choose recordings."""
    parser.add_argument(
        "--source",
        metavar="SOURCE",
        default="demo",
        help="a directory of recordings, a manifest (.csv or .jsonl), "
        "tfds:NAME[:CONFIG][:SPLIT], or demo for the built-in spoken digits "
        "(default: demo)",
    )
    parser.add_argument(
        "--pattern",
        metavar="GLOB",
        default="*",
        help="use only recordings whose relative path matches, such as "
        "'*.flac' or 'dev/*' (default: *)",
    )
    parser.add_argument(
        "--tfds_data_dir",
        metavar="DIR",
        help="where TensorFlow Datasets keeps prepared data sets (default: "
        "$TFDS_DATA_DIR, or ~/tensorflow_datasets)",
    )


def refuse_misspelled(
    flags: list[str], *parsers: argparse.ArgumentParser
) -> None:
    """Refuses misspelled flags before Beam is loaded.

    Args:
      flags: arguments that the parsers do not know; Beam may know them.
      *parsers: the parsers.

    Raises:
      UsageError: for a flag that is almost one of theirs.
    """
    usage = " ".join(parser.format_usage() for parser in parsers)
    known = set(re.findall(r"--[a-z_]+", usage))
    for word in flags:
        flag = word.partition("=")[0]
        near = difflib.get_close_matches(flag, known, 1, _SIMILAR)
        if flag.startswith("--") and near and flag != near[0]:
            raise UsageError(
                f"unknown argument {flag}; did you mean {near[0]}?"
            )
