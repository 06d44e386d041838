"""What every command shares: exit codes, one-line errors, progress, naming.

Exit codes: 0 done, 1 the data or the run failed, 2 bad usage or config,
130 interrupted by Ctrl-C.
"""

import argparse
import contextlib
import fcntl
import hashlib
import logging
import os
import re
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn

from stftgan_tf import config as config_lib

# Lines of TensorFlow's errors that are beside the point.
_NO_REASON = re.compile(
    r"\s|Graph execution error|Detected at node|Hint:"
    r"|\d+ (root|successful|derived)"
)


class UserError(RuntimeError):
    """Data or a run that cannot be used; the message is for the user."""


class UsageError(ValueError):
    """A command line that cannot be followed; the message is for the user."""


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


def guarded(run: Callable[..., int], *args: object) -> int:
    """Runs a command; expected failures become one line and an exit code."""
    if hasattr(sys.stdout, "reconfigure"):
        # A name that is no UTF-8 must not end what only tells of it.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return run(*args)
    except (config_lib.ConfigError, UsageError) as error:
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
        return _fail(_tensorflow_reason(str(error)), 1)


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


def first_line(error: BaseException) -> str:
    """What an error says first; its name where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _tensorflow_reason(text: str) -> str:
    """The line of an error of TensorFlow's that says what is wrong.

    Before it come the node and its stack, after it hints; of several errors
    the first is numbered.
    """
    numbered = re.search(r"^\s*\(0\) (.+)", text, re.M)
    if numbered:
        return numbered[1]
    lines = [line for line in text.splitlines() if line.strip()]
    told = [line for line in lines if not _NO_REASON.match(line)]
    return (told or lines or ["TensorFlow failed"])[0]


def _fail(message: str, code: int) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return code


@contextlib.contextmanager
def published_dir(
    target: Path, marker: str, overwrite: bool = False
) -> Iterator[Path]:
    """Yields a folder to fill, which becomes `target` by one rename.

    On any error, or when killed, `target` is as it was before. (Killed in the
    moment of replacing, it lies beside until the next call, as does what was
    half written.)

    Args:
      target: the folder's final name.
      marker: a file that tells a folder of this kind, such as
        `manifest.json`; any other folder is never replaced.
      overwrite: whether an existing target is replaced.

    Raises:
      UserError: as `refuse_existing`.
    """
    # Of a link, where it leads: it stays a link.
    target = Path(os.path.realpath(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target)
    refuse_existing(target, marker, overwrite)
    token, lock = _new_token(target)
    staging = target.parent / f".incomplete-{target.name}-{token}"
    try:
        staging.mkdir()
        yield staging
        publish(staging, target, marker, overwrite)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        give_up(lock)


def refuse_existing(target: Path, marker: str, overwrite: bool) -> None:
    """Raises UserError where a target exists and may not be replaced."""
    if not target.exists():
        return
    if not target.is_dir():
        raise UserError(f"{target} is a file; expected a folder or nothing")
    if not overwrite:
        raise UserError(f"{target} exists; use --overwrite to replace it")
    # Somebody's photographs, say.
    if any(target.iterdir()) and not (target / marker).is_file():
        raise UserError(
            f"{target} holds something else (no {marker}) and is not "
            "replaced; choose another --output"
        )


def publish(staging: Path, target: Path, marker: str, overwrite: bool) -> None:
    """Renames `staging` to `target`; an old target goes once it is whole."""
    refuse_existing(target, marker, overwrite)
    if not target.exists():
        staging.rename(target)
        return
    token = staging.name.rpartition("-")[2]
    old = target.parent / f".old-{target.name}-{token}"
    target.rename(old)
    staging.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def remove_leftovers(target: Path) -> None:
    """Removes what killed processes left beside `target`.

    What one that was replacing the target had moved away comes back.
    """
    # Not those of a target whose name begins like this one's.
    names = re.compile(
        rf"\.(?:incomplete|old)-{re.escape(target.name)}-([0-9a-f]{{32}})"
        r"(?:\.lock)?"
    )
    found = [names.fullmatch(path.name) for path in target.parent.iterdir()]
    for token in sorted({match[1] for match in found if match}):
        lock = _own(target, token)
        if lock is None:
            # Somebody is at work.
            continue
        old = target.parent / f".old-{target.name}-{token}"
        staging = target.parent / f".incomplete-{target.name}-{token}"
        shutil.rmtree(staging, ignore_errors=True)
        if old.exists() and not target.exists():
            old.rename(target)
        shutil.rmtree(old, ignore_errors=True)
        give_up(lock)


def _new_token(target: Path) -> tuple[str, BinaryIO]:
    """What names of our own end in, and the lock that says that we live."""
    while True:
        token = uuid.uuid4().hex
        lock = _own(target, token)
        # Else somebody took it for left over before it was locked.
        if lock is not None:
            return token, lock


def _own(target: Path, token: str) -> BinaryIO | None:
    """The lock of a token, or None where another process has it.

    A file of its own: folders cannot be locked on every file system.
    """
    return claim(target.parent / f".incomplete-{target.name}-{token}.lock")


def claim(path: Path, wait: bool = False) -> BinaryIO | None:
    """A lock file that is ours, or None where another process has it.

    The kernel lets go when we are killed.

    Args:
      path: of the lock file.
      wait: until the other process has let go.
    """
    file = open(path, "wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        # Who had it before may have removed it since we opened it.
        if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
            return file
    except (BlockingIOError, FileNotFoundError):
        pass
    file.close()
    return None


def give_up(lock: BinaryIO) -> None:
    """Removes a lock file that is ours."""
    Path(lock.name).unlink(missing_ok=True)
    lock.close()


@contextlib.contextmanager
def held(path: Path, told: str | None = None) -> Iterator[None]:
    """Holds a lock file, which stays.

    Args:
      path: of the lock file.
      told: where another process holds it; None waits for that one.

    Raises:
      UserError: `told`.
    """
    lock = claim(path, wait=told is None)
    if lock is None:
        raise UserError(told or f"{path} was removed meanwhile")
    with lock:
        yield


def digest_of(folder: Path) -> str:
    """SHA-256, as hexadecimal, of the names and bytes of all files below."""
    whole = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        whole.update(f"{name} {path.stat().st_size}\n".encode())
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                whole.update(block)
    return whole.hexdigest()


@contextlib.contextmanager
def unchanged(folder: Path) -> Iterator[str]:
    """Yields `digest_of` a folder, which must be the same at the end.

    Raises:
      UserError: if the folder has been replaced or altered meanwhile.
    """
    digest = digest_of(folder)
    yield digest
    if digest_of(folder) != digest:
        raise UserError(f"{folder} was changed meanwhile; try again")


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Yields a file to write, whose name never shows half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file so that its name never shows half of it."""
    with atomic_file(path) as file:
        file.write(data)


class Progress:
    """A line on stderr that says how far a long piece of work is.

    On a terminal the line is redrawn; elsewhere it is printed now and then,
    so that a log stays readable.
    """

    def __init__(self, what: str, total: int, unit: str):
        self._what, self._total, self._unit = what, total, unit
        self._start = time.monotonic()
        self._tty = sys.stderr.isatty()
        self._pause = 0.2 if self._tty else 10.0
        self._next = self._start + self._pause

    def update(self, done: int) -> None:
        """Says that `done` of the total are done, if it is time to."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self._pause
        rate = done / (now - self._start)
        left = (self._total - done) / rate if rate else float("inf")
        self._print(
            f"{self._what}: {done}/{self._total} {self._unit}, "
            f"{rate:{'.2g' if rate < 10 else '.0f'}}/s, ETA {clock(left)}",
            end="" if self._tty else "\n",
        )

    def close(self, done: int) -> None:
        """Prints the last line."""
        secs = time.monotonic() - self._start
        self._print(f"{self._what}: {done} {self._unit} in {secs:.1f} s", "\n")

    def _print(self, text: str, end: str) -> None:
        start = "\r\x1b[K" if self._tty else ""
        print(f"{start}{text}", end=end, file=sys.stderr, flush=True)


def clock(secs: float) -> str:
    """Seconds as H:MM:SS, or MM:SS under an hour."""
    if secs == float("inf"):
        return "--:--"
    minutes, seconds = divmod(int(secs), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{seconds:02d}"
    return f"{minutes:02d}:{seconds:02d}"
