"""Files and directories that appear complete or not at all, and locks."""

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

    After an error, or if the process is killed, `target` is as it was before.
    (If it is killed while it replaces an old target, the old one returns with
    the next call, which also removes incomplete directories.)

    Args:
      target: the final name of the directory.
      marker: a file that every directory of this kind contains, such as
        `manifest.json`; a directory without it is never replaced.
      overwrite: whether an existing target is replaced.

    Raises:
      UserError: as `refuse_existing`.
    """
    # A symbolic link stays; the directory that it points to is replaced.
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
    """Raises UserError if a target exists and may not be replaced."""
    if not target.exists():
        return
    if not target.is_dir():
        raise UserError(
            f"{target} is a file; expected a directory or a new name"
        )
    if not overwrite:
        raise UserError(f"{target} exists; use --overwrite to replace it")
    # It may contain somebody's photographs.
    if any(target.iterdir()) and not (target / marker).is_file():
        raise UserError(
            f"{target} contains something else (no {marker}) and is not "
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
    """Removes what killed processes left beside `target`.

    A target that a killed process was replacing is restored.
    """
    # Matches the complete name: other targets may begin in the same way.
    pattern = re.compile(
        rf"\.(?:incomplete|old)-{re.escape(target.name)}-([0-9a-f]{{32}})"
        r"(?:\.lock)?"
    )
    matches = [pattern.fullmatch(path.name) for path in target.parent.iterdir()]
    for token in sorted({match[1] for match in matches if match}):
        lock = _try_lock(_lock_path(target, token))
        if lock is None:
            # Its process is still running.
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
        # None: `remove_leftovers` of another process locked it first.
        if lock is not None:
            return token, lock


def _lock_path(target: Path, token: str) -> Path:
    # A separate file: some file systems cannot lock directories.
    return target.parent / f".incomplete-{target.name}-{token}.lock"


@contextlib.contextmanager
def locked(
    path: Path, message: str | None = None, remove: bool = False
) -> Iterator[None]:
    """Holds a lock that no other process can hold at the same time.

    The kernel releases it when the process ends, however that happens.

    Args:
      path: the lock file.
      message: the error if another process holds the lock; None waits for it.
      remove: whether the lock file is removed at the end.

    Raises:
      UserError: `message`.
    """
    lock = _try_lock(path, wait=message is None)
    if lock is None:
        raise UserError(message or f"{path} is locked")
    try:
        yield
    finally:
        _release(lock, remove)


def _try_lock(path: Path, wait: bool = False) -> filelock.BaseFileLock | None:
    """The lock, or None if another process holds it."""
    # Any thread may release it.
    lock = filelock.FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except filelock.Timeout:
        return None
    return lock


def _release(lock: filelock.BaseFileLock, remove: bool) -> None:
    if remove:
        # While it is locked: afterwards it may be another process's.
        Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def directory_digest(directory: Path) -> str:
    """SHA-256, in hexadecimal, of the names and bytes of all files in it."""
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
    """Yields the digest of a directory that must not change meanwhile.

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
    """Yields a file to write, which gets its name once it is complete."""
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
