"""The flags `--config`, `--set` and `--print_config` of the commands."""

import argparse

from stftgan_tf.config.loading import shipped_configs
from stftgan_tf.config.schema import Config


def add_arguments(
    parser: argparse.ArgumentParser,
    default: str | None,
    meaning: str | None = None,
) -> None:
    """Adds `--config`, `--set` and `--print_config` to a command.

    Args:
      parser: the command's parser.
      default: the default of `--config`; None for a command that uses the
        config stored in its input by default.
      meaning: what the help says of the default.
    """
    meaning = meaning or default or "the config stored in the export"
    names = ", ".join(sorted(shipped_configs()))
    parser.add_argument(
        "--config",
        default=default,
        metavar="NAME_OR_FILE",
        help=f"shipped config ({names}) or YAML file (default: {meaning})",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override one value of the config; repeatable",
    )
    parser.add_argument(
        "--print_config",
        action="store_true",
        help="print the resolved config as YAML and exit",
    )


def print_config(config: Config) -> int:
    """Prints a config as YAML, for `--print_config`.

    Returns:
      The exit code 0.
    """
    print(config.to_yaml(), end="")
    return 0
