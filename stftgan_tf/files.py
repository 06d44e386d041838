"""Atomic writes of files and directories, digests and file locks."""

import contextlib
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import filelock

from stftgan_tf.errors import UserError


@contextlib.contextmanager
def published_dir(
    target: Path, marker: str, overwrite: bool = False
) -> Iterator[Path]:
    """Yields a directory to fill, which becomes `target` by one rename.

    After an error, or if the process is killed, `target` is unchanged. (If the
    process is killed while it replaces an old target, the next call restores
    the old one. It also removes incomplete directories.)

    Args:
      target: the final name of the directory.
      marker: a file that every directory of this kind contains, such as
        `manifest.json`; a directory without it is never replaced.
      overwrite: whether an existing target is replaced.

    Raises:
      UserError: if the target exists and must not be replaced.
    """
    # A symbolic link is kept; the directory that it points to is replaced.
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
        _release(lock, remove=True)


def refuse_existing(target: Path, marker: str, overwrite: bool) -> None:
    """Raises UserError if a target exists and must not be replaced."""
    if not target.exists():
        return
    if not target.is_dir():
        raise UserError(
            f"{target} is a file; expected a directory or a new name"
        )
    if not overwrite:
        raise UserError(f"{target} exists; use --overwrite to replace it")
    # It may contain the user's own files.
    if any(target.iterdir()) and not (target / marker).is_file():
        raise UserError(
            f"{target} contains something else (no {marker}), so it is not "
            "replaced; choose another --output"
        )


def publish(staging: Path, target: Path, marker: str, overwrite: bool) -> None:
    """Renames `staging` to `target`, then deletes an old target."""
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


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file that is never visible half-written."""
    with atomic_file(path) as file:
        file.write(data)
