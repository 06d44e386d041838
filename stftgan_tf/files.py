"""Atomic writes of files and directories, digests and file locks."""

import contextlib
import dataclasses
import fnmatch
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import filelock

from stftgan_tf.errors import UserError

# Files that file managers add to any directory, and our own temporary ones.
_UNIMPORTANT = (".DS_Store", "._*", "Thumbs.db", "desktop.ini", ".*.tmp")


@dataclasses.dataclass(frozen=True)
class DirectoryKind:
    """A kind of directory that a command writes, by the files in it.

    A directory that does not look like this may contain the user's own files,
    so it is never replaced.

    Attributes:
      marker: a file that every directory of this kind contains, such as
        `manifest.json`.
      patterns: the relative paths of all files, in which `*` stands for any
        characters.
      content: text that the marker contains.
    """

    marker: str
    patterns: tuple[str, ...]
    content: str = ""

    def foreign(self, names: Iterable[str]) -> list[str]:
        """Those relative paths that do not belong to this kind, sorted."""
        return sorted(name for name in names if not self._owns(name))

    def _owns(self, name: str) -> bool:
        if any(fnmatch.fnmatchcase(name, p) for p in self.patterns):
            return True
        last = name.rpartition("/")[2]
        return any(fnmatch.fnmatchcase(last, p) for p in _UNIMPORTANT)

    def check(
        self, directory: str, names: Iterable[str], data: bytes | None
    ) -> None:
        """Checks a directory that may be replaced and is not empty.

        Args:
          directory: for the message.
          names: relative paths of its files.
          data: content of the marker, or None if there is none.

        Raises:
          UserError: if it contains files of another kind.
        """
        reason = None
        if data is None:
            reason = f"something else (no {self.marker})"
        elif self.content.encode() not in data:
            reason = f"a {self.marker} of something else"
        elif foreign := self.foreign(names):
            more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
            reason = f"files of yours ({', '.join(foreign[:3])}{more})"
        if reason:
            raise UserError(
                f"{directory} contains {reason}, so it is not replaced; choose "
                "another --output, or move its files away"
            )


@contextlib.contextmanager
def published_dir(
    target: Path, kind: DirectoryKind, overwrite: bool = False
) -> Iterator[Path]:
    """Yields a directory to fill, which becomes `target` by one rename.

    After an error, or if the process is killed, `target` is unchanged. (If the
    process is killed while it replaces an old target, the next call restores
    the old one. It also removes incomplete directories.)

    Args:
      target: the final name of the directory.
      kind: of the target; no other directory is replaced.
      overwrite: whether an existing target is replaced.

    Raises:
      UserError: if the target exists and must not be replaced.
    """
    # A symbolic link is kept; the directory that it points to is replaced.
    target = Path(os.path.realpath(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target)
    refuse_existing(target, kind, overwrite)
    token, lock = _new_token(target)
    staging = target.parent / f".incomplete-{target.name}-{token}"
    try:
        staging.mkdir()
        yield staging
        publish(staging, target, kind, overwrite)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        _release(lock, remove=True)


def refuse_existing(target: Path, kind: DirectoryKind, overwrite: bool) -> None:
    """Raises UserError if a target exists and must not be replaced."""
    if not target.exists():
        return
    if not target.is_dir():
        raise UserError(
            f"{target} is a file; expected a directory or a new name"
        )
    if not overwrite:
        raise UserError(f"{target} exists; use --overwrite to replace it")
    if not any(target.iterdir()):
        return
    marker = target / kind.marker
    data = marker.read_bytes() if marker.is_file() else None
    kind.check(str(target), file_names(target), data)


def file_names(directory: Path) -> Iterator[str]:
    """Relative paths of all files; a link counts as a file."""
    for root, directories, names in os.walk(directory):
        links = [d for d in directories if os.path.islink(Path(root, d))]
        for name in [*names, *links]:
            yield Path(root, name).relative_to(directory).as_posix()


def publish(
    staging: Path, target: Path, kind: DirectoryKind, overwrite: bool
) -> None:
    """Renames `staging` to `target`, then deletes an old target."""
    refuse_existing(target, kind, overwrite)
    if not target.exists():
        staging.rename(target)
        return
    token = staging.name.rpartition("-")[2]
    old = target.parent / f".old-{target.name}-{token}"
    target.rename(old)
    staging.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def remove_leftovers(target: Path) -> None:
    """Removes what killed processes left next to `target`.

    A target that a killed process was replacing is restored.
    """
    # Matches the whole name, because other targets may have the same prefix.
    pattern = re.compile(
        rf"\.(?:incomplete|old)-{re.escape(target.name)}-([0-9a-f]{{32}})"
        r"(?:\.lock)?"
    )
    matches = [pattern.fullmatch(path.name) for path in target.parent.iterdir()]
    for token in sorted({match[1] for match in matches if match}):
        lock = _try_lock(_lock_path(target, token))
        if lock is None:
            # The process that owns it is still running.
            continue
        old = target.parent / f".old-{target.name}-{token}"
        staging = target.parent / f".incomplete-{target.name}-{token}"
        shutil.rmtree(staging, ignore_errors=True)
        if old.exists() and not target.exists():
            old.rename(target)
        shutil.rmtree(old, ignore_errors=True)
        _release(lock, remove=True)


def _new_token(target: Path) -> tuple[str, filelock.BaseFileLock]:
    """A token for temporary names, and the lock that shows it is in use."""
    while True:
        token = uuid.uuid4().hex
        lock = _try_lock(_lock_path(target, token))
        # It is None if another process's `remove_leftovers` locked it first.
        if lock is not None:
            return token, lock


def _lock_path(target: Path, token: str) -> Path:
    # A separate file: some file systems cannot lock directories.
    return target.parent / f".incomplete-{target.name}-{token}.lock"


@contextlib.contextmanager
def locked(
    path: Path, message: str | None = None, remove: bool = False
) -> Iterator[None]:
    """Holds an exclusive lock, which also excludes other processes.

    The kernel releases it when the process ends, even if it is killed.

    Args:
      path: the lock file.
      message: the error if the lock is already held; None waits for it.
      remove: whether to remove the lock file at the end.

    Raises:
      UserError: with `message`, if the lock is already held.
    """
    lock = _try_lock(path, wait=message is None)
    if lock is None:
        raise UserError(message or f"{path} is locked")
    try:
        yield
    finally:
        _release(lock, remove)


def _try_lock(path: Path, wait: bool = False) -> filelock.BaseFileLock | None:
    """The lock, or None if it is already held."""
    # A file that cannot be created is an error; FileLock would try for ever.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o644))
    # So that any thread may release it.
    lock = filelock.FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except filelock.Timeout:
        return None
    return lock


def _release(lock: filelock.BaseFileLock, remove: bool) -> None:
    if remove:
        # Before the release: afterwards another process may use the file.
        Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def directory_digest(directory: Path) -> str:
    """SHA-256, in hexadecimal, of the names and bytes of all its files."""
    digest = hashlib.sha256()
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        name = str(path.relative_to(directory))
        digest.update(f"{name} {path.stat().st_size}\n".encode())
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def stable_digest(directory: Path) -> Iterator[str]:
    """Yields the digest of a directory that must not change inside the block.

    Raises:
      UserError: at the end, if the directory was replaced or modified.
    """
    digest = directory_digest(directory)
    yield digest
    if directory_digest(directory) != digest:
        raise UserError(
            f"{directory} was changed by another process; try again"
        )


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Yields a file to write; it is renamed to `path` once it is complete."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def refuse_foreign_file(path: Path, mark: bytes) -> None:
    """Checks that an output file is new, empty or an earlier output.

    Args:
      path: the file to write.
      mark: bytes that every output of this command contains.

    Raises:
      UserError: if it is a directory or a file of another origin.
    """
    if path.is_dir():
        raise UserError(f"{path} is a directory; expected a file or a new name")
    if path.exists() and not path.is_file():
        # The rename would replace a device such as /dev/null.
        raise UserError(f"{path} is not a regular file; expected a new name")
    if path.is_file():
        data = path.read_bytes()
        if data and mark not in data:
            raise UserError(
                f"{path} exists and was not written by this command, so it is "
                "not replaced; choose another --output"
            )


def write_output(path: Path, data: bytes, mark: bytes) -> None:
    """Writes the output file of a command, and its directory if needed.

    Raises:
      UserError: as `refuse_foreign_file`.
    """
    refuse_foreign_file(path, mark)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data)


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file that is never visible half-written."""
    with atomic_file(path) as file:
        file.write(data)
