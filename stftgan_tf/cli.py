"""What every command shares: exit codes, one-line errors, progress, naming.

Exit codes: 0 done, 1 the data or the run failed, 2 bad usage or config,
130 interrupted by Ctrl-C.
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from stftgan_tf.errors import (
    ConfigError,
    UsageError,
    UserError,
    tensorflow_reason,
)


def parser(doc: str | None, example: str) -> argparse.ArgumentParser:
    """An argument parser whose help opens with `doc` and ends in `example`."""
    return argparse.ArgumentParser(
        description=doc,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # A prefix must never be taken for another command's flag.
        allow_abbrev=False,
    )


def local_path(text: str) -> Path:
    """An argument that must be of this machine.

    Raises:
      ArgumentTypeError: it is not; as a path it would be a folder here.
    """
    if "://" in text:
        raise argparse.ArgumentTypeError(
            f"{text} is remote; expected a path on this machine or a volume"
        )
    return Path(text)


def add_data(parser: argparse.ArgumentParser) -> None:
    """Adds `--data`, a data set."""
    parser.add_argument(
        "--data",
        default="tfrecords/demo",
        help="the data set, here or remote (default: tfrecords/demo)",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Adds `--model`, the folder of an export."""
    parser.add_argument(
        "--model",
        type=local_path,
        default=Path("exports/demo"),
        help="the export (default: exports/demo)",
    )


def run_command(run: Callable[..., int], *args: object) -> int:
    """Runs a command; expected failures become one line and an exit code."""
    if hasattr(sys.stdout, "reconfigure"):
        # A name that is no UTF-8 must not end what only tells of it.
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
        # The reader of our output went away; that is no failure of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        what = error.strerror or str(error) or type(error).__name__
        return _fail(f"{error.filename or 'system'}: {what}", 1)
    except Exception as error:
        # TensorFlow's, of a full disk, a file that went away, no memory. Not
        # imported here: most workers have no need of it.
        errors = sys.modules.get("tensorflow.python.framework.errors_impl")
        if not errors or not isinstance(error, errors.OpError):
            raise
        return _fail(tensorflow_reason(str(error)), 1)


def leave(code: int) -> NoReturn:
    """Ends the program with an exit code.

    tensorflow-io's S3 file system aborts when it is torn down ("pure virtual
    method called"), so where it was loaded nothing is torn down.
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
