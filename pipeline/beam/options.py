"""Beam's runner and its flags."""

import argparse
import importlib
from typing import NoReturn

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from stftgan_tf.errors import UsageError, first_line

# Beam's names for the runner in this process, in lower case.
_DIRECT_RUNNERS = ("direct", "directrunner", "switchingdirectrunner")

# Runners whose workers share this machine's files.
_LOCAL_RUNNERS = (*_DIRECT_RUNNERS, "fnapirunner", "prismrunner")


def is_local(runner: str) -> bool:
    """Whether the runner's workers run on this machine."""
    return runner.lower() in _LOCAL_RUNNERS


def parse(runner: str, flags: list[str]) -> PipelineOptions:
    """Beam's options.

    Raises:
      UsageError: if the runner does not exist, or for a flag that Beam does
        not know. (Beam itself ignores unknown flags with a warning.)
    """
    try:
        # The module of a runner declares the runner's flags.
        if "." in runner:
            importlib.import_module(runner.rpartition(".")[0])
        beam.runners.create_runner(runner)
    except (ImportError, ValueError, AttributeError) as error:
        reason = first_line(error)
        raise UsageError(f"--runner {runner}: {reason}") from error
    _, unknown = _parser().parse_known_args(flags)
    if unknown:
        raise UsageError(f"unknown argument {unknown[0]}; see --help")
    # Beam's DirectRunner first tries to download and run Prism, and falls back
    # to this runner.
    if runner.lower() in _DIRECT_RUNNERS:
        runner = "FnApiRunner"
    return PipelineOptions(flags, runner=runner)


def _parser() -> argparse.ArgumentParser:
    """A parser of the flags of all option classes that are loaded."""
    parser = _BeamFlags(add_help=False, allow_abbrev=False)
    pending = [PipelineOptions]
    while pending:
        for options in pending.pop().__subclasses__():
            pending.append(options)
            if "_add_argparse_args" in vars(options):
                options._add_argparse_args(parser)
    return parser


class _BeamFlags(argparse.ArgumentParser):
    """Reports a wrong value in one line, without Beam's long usage."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see --help")
