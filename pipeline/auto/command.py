"""What `--config auto` means to the command `pipeline.run`."""

import argparse
import functools
from collections.abc import Callable

from pipeline.auto import resolve
from pipeline.auto.budget import DEFAULT_MINUTES
from pipeline.sources import recordings as recordings_lib
from pipeline.sources.recordings import Source
from stftgan_tf import config as config_lib
from stftgan_tf.config import AudioConfig, Config
from stftgan_tf.errors import UserError

# The config for the built-in corpus, which needs no survey.
_DEMO_CONFIG = "digits8k"


def apply(args: argparse.Namespace) -> Config:
    """Finds the config, and changes the arguments to what it needs.

    A new config is written to the root and takes the place of `auto` in
    `args.config`, unless the command only shows something. Pieces of recordings
    take the place of the source.

    Args:
      args: of `pipeline.run`.

    Raises:
      UserError: if the recordings or an earlier config cannot be used.
    """
    minutes = args.minutes or DEFAULT_MINUTES
    if args.source == "demo":
        print(f"config: {_DEMO_CONFIG}, which is made for the demo corpus")
        args.config = _DEMO_CONFIG
        config = config_lib.load(args.config, args.set)
    elif resolve.read_existing(args.root):
        config = _use_existing(args)
    else:
        config = _choose(args, minutes)
    has_limit = args.steps is not None or args.minutes is not None
    if not has_limit and config.train.strategy != "multiworker":
        args.minutes = minutes
    return config


def print_config(args: argparse.Namespace) -> int:
    """Prints the config with the reasons, for `--print_config`.

    Returns:
      The exit code 0.
    """
    text = resolve.read_existing(args.root)
    if args.source == "demo":
        return config_lib.print_config(config_lib.load(_DEMO_CONFIG, args.set))
    if text and args.set:
        path = args.root / resolve.CONFIG
        return config_lib.print_config(config_lib.load(path, args.set))
    if not text:
        minutes = args.minutes or DEFAULT_MINUTES
        text = resolve.choose(_opener(args), args.root, minutes, args.set).text
    print(text, end="")
    return 0


def _opener(args: argparse.Namespace) -> Callable[[AudioConfig], Source]:
    """Lists the recordings for a config."""
    return functools.partial(
        recordings_lib.open_source,
        args.source,
        pattern=args.pattern,
        tfds_data_dir=args.tfds_data_dir,
        exclude=args.exclude,
    )


def _use_existing(args: argparse.Namespace) -> Config:
    path = args.root / resolve.CONFIG
    config = config_lib.load(path, args.set)
    print(f"config: {path} (chosen earlier; delete it for a new survey)")
    has_pieces = (args.root / resolve.PIECES).is_file()
    change = resolve.change_since(args.root, _opener(args))
    if change and has_pieces:
        raise UserError(f"{change} ({resolve.PIECES} lists the earlier ones)")
    if change:
        print(f"note: {change}")
    if has_pieces:
        _use_pieces(args)
    args.config = str(path)
    return config


def _choose(args: argparse.Namespace, minutes: float) -> Config:
    resolved = resolve.choose(_opener(args), args.root, minutes)
    path = args.root / resolve.CONFIG
    config = resolved.config(args.set)
    for line in [*resolved.lines, f"config       {path} (edit it as you like)"]:
        print(line)
    print(flush=True)
    if not args.dry_run:
        resolved.write(args.root)
        if resolved.pieces is not None:
            _use_pieces(args)
    args.config = str(path)
    return config


def _use_pieces(args: argparse.Namespace) -> None:
    """Makes the manifest of pieces the source; it is filtered already."""
    args.source = str(args.root / resolve.PIECES)
    args.pattern, args.exclude = "*", []
