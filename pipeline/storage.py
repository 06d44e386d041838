"""Files by path, local or remote (`s3://`, `gs://`, `hdfs://`).

Local files do not go through Beam, because a local directory can be renamed in
one step, unlike a directory in an object store.
"""

import collections
import contextlib
import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from pipeline import remote
from stftgan_tf import files
from stftgan_tf.errors import UserError, first_line
from stftgan_tf.files import DirectoryKind

# Shards are written record by record; a larger buffer exceeds CPU caches.
_BUFFER_BYTES = 1 << 18

# Maximum number of files that wait to be flushed to the disk.
_MAX_PENDING_SYNCS = 8

# Remote files that one call moves, because Beam connects anew for each call,
# and calls at the same time.
_MOVED_AT_ONCE = 16
_MOVING_THREADS = 16


def is_remote(path: str) -> bool:
    """Whether a path belongs to one of Beam's file systems."""
    return "://" in path


def join(root: str, *parts: str) -> str:
    """A path below a root, which is local or remote."""
    if is_remote(root):
        return "/".join([root.rstrip("/"), *parts])
    return os.path.join(root, *parts)


def absolute(path: str) -> str:
    """The path without regard to the current directory."""
    return path if is_remote(path) else os.path.abspath(path)


def exists(path: str) -> bool:
    """Whether a file exists."""
    if is_remote(path):
        return remote.call("exists", path)
    return os.path.exists(path)


@contextlib.contextmanager
def open_input(path: str) -> Iterator[BinaryIO]:
    """Opens a file for reading and seeking.

    Raises:
      OSError: if it cannot be opened.
    """
    if not is_remote(path):
        with open(path, "rb") as file:
            yield file
        return
    file = remote.call("open", path, compression_type="uncompressed")
    with contextlib.closing(file):
        yield file


@contextlib.contextmanager
def local_copy(path: str) -> Iterator[str]:
    """Copies a remote file to a temporary local one, and yields its path.

    Raises:
      OSError: if it cannot be read.
    """
    with (
        open_input(path) as source,
        tempfile.NamedTemporaryFile() as copy,
    ):
        try:
            shutil.copyfileobj(source, copy, 1 << 20)
        # Each file system raises its own exceptions.
        except Exception as error:
            raise remote.as_os_error(error, path) from error
        copy.flush()
        yield copy.name


class BackgroundSync:
    """A thread that flushes written files to the disk."""

    def __init__(self):
        self._thread = ThreadPoolExecutor(1)
        self._pending: collections.deque[Future] = collections.deque()

    def add(self, file: BinaryIO) -> None:
        """Takes over a written file; flushes and closes it in the background.

        Raises:
          OSError: if an earlier file could not be flushed.
        """
        self._pending.append(self._thread.submit(_sync, file))
        # Each pending file is open and takes a file handle.
        if len(self._pending) > _MAX_PENDING_SYNCS:
            self._pending.popleft().result()

    def wait(self) -> None:
        """Returns when all files are on the disk.

        Raises:
          OSError: if one could not be flushed.
        """
        while self._pending:
            self._pending.popleft().result()


def _sync(file: BinaryIO) -> None:
    with file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def create(path: str, sync: BackgroundSync) -> Iterator[BinaryIO]:
    """Creates a file, which is on the disk once `sync.wait` has returned.

    It replaces an existing file, because a retried bundle may find files of the
    first attempt. A remote file is not created if nothing is written to it.

    Raises:
      OSError: if it cannot be written.
    """
    if is_remote(path):
        with contextlib.closing(remote.RemoteFile(path)) as file:
            yield file
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    file = open(path, "xb", buffering=_BUFFER_BYTES)
    try:
        yield file
        file.flush()
    except BaseException:
        # If flushing fails (a full disk), closing fails too. Without this call,
        # Python would try again when it collects the object.
        file.close()
        raise
    sync.add(file)


def write_text(path: str, text: str) -> None:
    """Writes a UTF-8 file."""
    write_texts(path, [text])


def write_texts(path: str, texts: Iterable[str]) -> None:
    """Writes a UTF-8 file from its parts, which are not held together."""
    sync = BackgroundSync()
    with create(path, sync) as file:
        for text in texts:
            file.write(text.encode())
    sync.wait()


def read_text(path: str) -> str:
    """Reads a UTF-8 file."""
    with open_input(path) as file:
        return file.read().decode()


def delete(path: str) -> None:
    """Deletes a file."""
    if is_remote(path):
        remote.call("delete", [path])
    else:
        os.unlink(path)


def refuse_existing(target: str, kind: DirectoryKind, overwrite: bool) -> None:
    """Like `files.refuse_existing`, but the target may be remote.

    Raises:
      UserError: if the target exists and must not be replaced.
    """
    if not is_remote(target):
        files.refuse_existing(Path(target), kind, overwrite)
        return
    names = list(remote.list_files(target))
    if names and kind.marker not in names:
        # Shards of a killed job would be mixed with the new ones.
        raise UserError(
            f"{target} contains something else (no {kind.marker}), or files "
            "of a killed job; remove it, or choose another --output"
        )
    if names and not overwrite:
        raise UserError(f"{target} exists; use --overwrite to replace it")
    if names:
        with open_input(join(target, kind.marker)) as file:
            kind.check(target, names, file.read())


@contextlib.contextmanager
def published_dir(
    target: str, kind: DirectoryKind, overwrite: bool
) -> Iterator[str]:
    """Yields a directory to fill, which then replaces `target`.

    A local directory is replaced by one rename. A remote one is replaced file
    by file: the old marker is deleted first and the new one is moved last,
    because a directory without a marker is not a data set. If the replacement
    fails, the new files are kept, and the message says where they are.

    Args:
      target: the directory's final path.
      kind: of the target; no other directory is replaced.
      overwrite: whether to replace an existing target.

    Raises:
      UserError: if the target exists and must not be replaced, or was only
        partly replaced.
    """
    if not is_remote(target):
        with files.published_dir(Path(target), kind, overwrite) as staging:
            yield str(staging)
        return
    refuse_existing(target, kind, overwrite)
    parent, _, name = target.rstrip("/").rpartition("/")
    staging = f"{parent}/.incomplete-{name}-{uuid.uuid4().hex}"
    try:
        yield staging
        refuse_existing(target, kind, overwrite)
        old = list(remote.list_files(target))
        new = list(remote.list_files(staging))
        if old:
            delete(join(target, kind.marker))
    except BaseException:
        paths = [join(staging, name) for name in remote.list_files(staging)]
        if paths:
            remote.call("delete", paths)
        raise
    old = [name for name in old if name != kind.marker]
    _replace_remote(target, old, staging, new, kind.marker)


def _move_remote(target: str, staging: str, names: list[str]) -> None:
    """Moves files between two remote directories, many at the same time.

    An object store copies a file to rename it, and a large data set has a
    million files.

    Raises:
      OSError: if one cannot be moved; others may have been moved.
    """

    def move(start: int) -> None:
        batch = names[start : start + _MOVED_AT_ONCE]
        sources = [join(staging, name) for name in batch]
        targets = [join(target, name) for name in batch]
        remote.call("rename", sources, targets)

    starts = range(0, len(names), _MOVED_AT_ONCE)
    with ThreadPoolExecutor(_MOVING_THREADS) as threads:
        moves = [threads.submit(move, start) for start in starts]
        try:
            for future in moves:
                future.result()
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _replace_remote(
    target: str, old: list[str], staging: str, new: list[str], marker: str
) -> None:
    """Deletes the old files of a target, and moves the new ones there.

    Args:
      target: the remote directory.
      old: names of its files, without the marker, which is already deleted.
      staging: directory of the new files.
      new: names of the new files.
      marker: name of the file to move last.
    """
    message = f"{target} was only partly replaced"
    hint = (
        f"move the remaining files from {staging} to it, {marker} last, or "
        "remove both"
    )
    try:
        if old:
            remote.call("delete", [join(target, name) for name in old])
        _move_remote(target, staging, [n for n in new if n != marker])
        _move_remote(target, staging, [n for n in new if n == marker])
    except OSError as error:
        raise UserError(f"{message}: {first_line(error)}: {hint}") from error
    except KeyboardInterrupt:
        logging.warning("%s: %s", message, hint)
        raise
