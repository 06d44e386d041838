"""Files and directories that appear whole or not at all, and locks."""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from stftgan_tf.errors import UserError


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
