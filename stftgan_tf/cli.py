"""What all commands share: parsers, common flags, exit codes, one-line errors.

Exit codes: 0 success, 1 the data or the run failed, 2 wrong usage or config,
130 interrupted by Ctrl-C.
"""

import argparse
import difflib
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from stftgan_tf.errors import (
    ConfigError,
    UsageError,
    UserError,
    first_line,
    install_hint,
    tensorflow_reason,
)

CONSOLE_SCRIPT = "stftgan"

_FILE = Path(__file__).resolve()
_PACKAGES = tuple(
    _FILE.parents[1] / name for name in ("pipeline", "stftgan_tf")
)


class _Parser(argparse.ArgumentParser):
    """Accepts `--dry-run` for `--dry_run`, and reports errors in one line."""

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        namespace, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(unknown_argument(unknown[0], flags_of(self)))
        return namespace

    def error(self, message: str) -> NoReturn:
        hint = "" if message.endswith("?") else "; see --help"
        self.exit(_fail(f"{message}{hint}", 2))

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        args = sys.argv[1:] if args is None else args
        return super().parse_known_args(
            [self._with_underscores(arg) for arg in args], namespace
        )

    def _with_underscores(self, argument: str) -> str:
        flag, equals, value = argument.partition("=")
        name = f"--{flag[2:].replace('-', '_')}"
        if flag.startswith("--") and name in self._option_string_actions:
            return f"{name}{equals}{value}"
        # Not one of our flags, but one of Beam's, a value or a mistake.
        return argument


def parser(
    doc: str | None, example: str, subcommand: str = ""
) -> argparse.ArgumentParser:
    """Returns a parser for a command.

    Args:
      doc: what the command does; the help begins with it.
      example: a command line to paste, such as `python -m stftgan_tf.train
        --data tfrecords/digits`; the help ends with it, and the usage line
        starts with the same program.
      subcommand: a word between the command and its flags.
    """
    return _Parser(
        prog=f"{_program(example)} {subcommand}".rstrip(),
        description=doc,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # An abbreviation must not be mistaken for another command's flag.
        allow_abbrev=False,
    )


def _program(example: str) -> str:
    """`python -m package.module`, or `stftgan module` under the script."""
    match = re.match(r"python (?:-m )?(\S+)", example)
    if not match:
        return Path(sys.argv[0]).name
    if Path(sys.argv[0]).stem == CONSOLE_SCRIPT:
        return f"{CONSOLE_SCRIPT} {match[1].rpartition('.')[2]}"
    return match[0]


def flags_of(parser: argparse.ArgumentParser) -> list[str]:
    """The flags of a parser, such as `--config`."""
    return re.findall(r"--[a-z_]+", parser.format_usage())


def unknown_argument(
    argument: str, flags: Sequence[str], similarity: float = 0.6
) -> str:
    """A message about an unknown argument, which suggests a similar flag."""
    name, _, _ = argument.partition("=")
    nearest = difflib.get_close_matches(name, flags, 1, similarity)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"unknown argument {name}{hint}"


def local_path(text: str) -> Path:
    """The argparse type of a path on this machine.

    Raises:
      ArgumentTypeError: if it is empty, a URL (which would become a directory
        here), or not UTF-8 (so that TensorFlow cannot open it).
    """
    if not text:
        raise argparse.ArgumentTypeError("the path is empty")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise argparse.ArgumentTypeError(
            f"{ascii(text)} is not UTF-8, which TensorFlow needs; rename it"
        ) from error
    if "://" in text:
        raise argparse.ArgumentTypeError(
            f"{text} is remote; expected a local path"
        )
    return Path(text)


def boxed_models() -> dict[str, Path]:
    """Exports that come with the project, by name."""
    directory = _FILE.parent / "boxed"
    return {
        path.parent.name: path.parent
        for path in sorted(directory.glob("*/metadata.json"))
    }


def find_model(path: str | Path) -> Path:
    """The directory that a path, or else a name in the box, refers to."""
    path = Path(path)
    return path if path.exists() else boxed_models().get(str(path), path)


def model_path(text: str) -> Path:
    """The argparse type of `find_model`."""
    return find_model(local_path(text))


def add_data(parser: argparse.ArgumentParser) -> None:
    """Adds `--data`, a data set, local or remote."""
    parser.add_argument(
        "--data",
        metavar="DIR",
        default="tfrecords/demo",
        help="data set, local or remote (default: tfrecords/demo)",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Adds `--model`, the directory of an export or a name in the box."""
    parser.add_argument(
        "--model",
        metavar="DIR",
        type=model_path,
        default=Path("exports/demo"),
        help="directory of the export, or name of a model in the box "
        f"({', '.join(boxed_models())}) (default: exports/demo)",
    )


def add_output(
    parser: argparse.ArgumentParser,
    text: str,
    metavar: str = "DIR",
    default: Path | None = None,
) -> None:
    """Adds `--output`, a local path that the command writes.

    Args:
      parser: the command's parser.
      text: the help, with the default in brackets.
      metavar: `DIR` or `FILE`.
      default: the default.
    """
    parser.add_argument(
        "--output",
        metavar=metavar,
        type=local_path,
        default=default,
        help=text,
    )


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Adds `--overwrite`, which replaces an existing `--output`."""
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace an existing output as soon as the new one is complete",
    )


def add_num_and_seed(parser: argparse.ArgumentParser) -> None:
    """Adds `--num` and `--seed`, which choose the samples."""
    parser.add_argument(
        "--num",
        metavar="N",
        type=int,
        default=16,
        help="number of samples (default: 16)",
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=int,
        default=0,
        help="seed of the first sample; the next samples use the seeds after "
        "it (default: 0)",
    )


def add_label(parser: argparse.ArgumentParser) -> None:
    """Adds `--label`, the name or the number of a label, as text."""
    parser.add_argument(
        "--label",
        metavar="LABEL",
        help="label to generate, by name or number, for a model trained with "
        "labels (default: drawn at random)",
    )


def add_truncation(parser: argparse.ArgumentParser) -> None:
    """Adds `--truncation`, the scale of the latents."""
    parser.add_argument(
        "--truncation",
        metavar="FACTOR",
        type=float,
        default=1.0,
        help="scale of the latents, above 0; values below 1 give more typical "
        "and less varied samples (default: 1)",
    )


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Adds `--steps` and `--minutes`, which limit the training."""
    parser.add_argument(
        "--steps",
        metavar="N",
        type=int,
        help="total generator updates, including those before a resume "
        "(default: train.steps)",
    )
    parser.add_argument(
        "--minutes",
        metavar="MINUTES",
        type=float,
        help="total training time, including the time before a resume "
        "(default: no limit)",
    )


def run_command(run: Callable[..., int], *args: object) -> int:
    """Runs a command; expected failures become one line and an exit code."""
    if hasattr(sys.stdout, "reconfigure"):
        # Printing a file name that is not UTF-8 must not fail.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return run(*args)
    except (ConfigError, UsageError) as error:
        return _fail(str(error), 2)
    except UserError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:
        # The reader closed the pipe (as `head` does); this is not a failure.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        return _fail(f"{error.filename or 'system'}: {reason}", 1)
    except MemoryError:
        return _fail("there is not enough memory", 1)
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        return _fail(_reason(error), 1)


def _reason(error: Exception) -> str:
    """One line about an error that no part of the project expects."""
    # TensorFlow's errors: a full disk, a missing file, out of memory. It is not
    # imported here, because not every process needs it.
    errors = sys.modules.get("tensorflow.python.framework.errors_impl")
    if errors and isinstance(error, errors.OpError):
        return tensorflow_reason(str(error))
    if isinstance(error, ModuleNotFoundError) and install_hint(error):
        return str(install_hint(error))
    frames = traceback.extract_tb(error.__traceback__)
    place = next((f for f in reversed(frames) if _is_ours(f)), frames[-1])
    return (
        f"unexpected {type(error).__name__} in {Path(place.filename).name}, "
        f"line {place.lineno}: {first_line(error)}; python -X dev -m ... shows "
        "the traceback"
    )


def _is_ours(frame: traceback.FrameSummary) -> bool:
    """Whether a frame is code of the project that a command called."""
    path = Path(frame.filename).resolve()
    # Not the project's directory: installed, it also contains libraries.
    is_inside = any(path.is_relative_to(package) for package in _PACKAGES)
    return is_inside and path != _FILE


def exit_process(code: int) -> NoReturn:
    """Ends the program with an exit code.

    tensorflow-io's S3 file system aborts at interpreter shutdown ("pure virtual
    method called"). If it was loaded, the process exits without a shutdown.
    """
    if "tensorflow_io" in sys.modules:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _fail(message: str, code: int) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return code
