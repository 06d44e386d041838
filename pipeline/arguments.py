"""Flags that several commands of the pipeline share."""

import argparse


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
