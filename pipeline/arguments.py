"""Flags that several commands of the pipeline share."""

import argparse
import importlib.util
import re
from pathlib import Path

from stftgan_tf import cli
from stftgan_tf.errors import UsageError

# Similarity of a misspelled flag. No flag of Beam is this similar to ours.
_SIMILAR = 0.85


def add_source(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that choose recordings."""
    parser.add_argument(
        "--source",
        metavar="SOURCE",
        default="demo",
        help="directory of recordings, manifest (.csv, .tsv or .jsonl), "
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
        "--exclude",
        metavar="GLOB",
        action="append",
        default=[],
        help="leave out recordings whose relative path matches, such as "
        "'backup/*'; may be repeated (default: none)",
    )
    parser.add_argument(
        "--tfds_data_dir",
        metavar="DIR",
        help="where TensorFlow Datasets keeps prepared data sets (default: "
        "$TFDS_DATA_DIR, or ~/tensorflow_datasets)",
    )


def add_new_contract(parser: argparse.ArgumentParser) -> None:
    """Adds the flag that allows what clients may not expect."""
    parser.add_argument(
        "--new_contract",
        action="store_true",
        help="push even if the export differs from the newest version in what "
        "clients rely on: sample rate, STFT, window, labels, signatures; the "
        "version records the changes",
    )


def refuse_misspelled(
    flags: list[str], *parsers: argparse.ArgumentParser
) -> None:
    """Refuses misspelled flags before Beam is loaded.

    Args:
      flags: arguments that the parsers do not know; Beam may know them.
      *parsers: the parsers.

    Raises:
      UsageError: for a flag that is similar to one of the parsers' flags.
    """
    known = [flag for parser in parsers for flag in cli.flags_of(parser)]
    for word in flags:
        message = cli.unknown_argument(word, known, _SIMILAR)
        if word.startswith("--") and message.endswith("?"):
            raise UsageError(message)


def refuse_unknown(flags: list[str], runner: str) -> None:
    """Refuses flags that Beam does not know, before Beam is loaded.

    The flags are read from Beam's source, because importing Beam takes
    seconds. Other runners than Beam's own may have more flags.

    Raises:
      UsageError: for a flag that does not appear in Beam's options.
    """
    package = importlib.util.find_spec("apache_beam")
    if package is None or package.origin is None or "." in runner:
        return
    source = Path(package.origin).parent / "options" / "pipeline_options.py"
    if not source.is_file():
        return
    known = re.findall(r"""["'](--[\w-]+)["']""", source.read_text("utf-8"))
    for position, word in enumerate(flags):
        # A later word can be the value of a flag.
        is_flag = word.startswith("--") or position == 0
        if is_flag and word.partition("=")[0] not in known:
            message = cli.unknown_argument(word, known, _SIMILAR)
            hint = "" if message.endswith("?") else "; see --help"
            raise UsageError(f"{message}{hint}")
