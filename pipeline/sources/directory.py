"""Audio files in a directory, local or remote."""

import os
from collections.abc import Iterable
from pathlib import Path

from pipeline import remote, storage
from pipeline.audio.containers import EXTENSIONS
from stftgan_tf.errors import UserError

# For each file, its path and its name (its path relative to the source).
FileList = list[tuple[str, str]]


def list_files(source: str) -> tuple[FileList, FileList]:
    """Lists the audio files below a directory.

    Args:
      source: the directory, local or remote.

    Returns:
      (files, unreadable): all files with an audio extension, and the local
      subdirectories that cannot be read.

    Raises:
      UserError: if there is no such directory.
    """
    if storage.is_remote(source):
        names = filter(_is_audio, _list_remote(source))
        return [(storage.join(source, name), name) for name in names], []
    path = Path(source)
    if path.is_dir():
        return walk(path)
    if path.exists():
        raise UserError(
            f"source {source} is a file; expected a directory, a manifest "
            "(.csv or .jsonl), tfds:NAME or demo"
        )
    raise UserError(f"source {source} does not exist")


def walk(root: Path) -> tuple[FileList, FileList]:
    """`list_files` for a local directory; follows links.

    Everything with an audio extension is listed, even a directory, so that it
    becomes a dead letter if it is not audio. Unreadable directories also become
    dead letters.
    """
    paths: list[str] = []
    unreadable: list[str] = []
    visited = set()

    def add_unreadable(error: OSError) -> None:
        unreadable.append(str(error.filename))

    for directory, subdirectories, files in os.walk(
        root, onerror=add_unreadable, followlinks=True
    ):
        status = os.stat(directory)
        # A link to a parent directory would be followed without end.
        if (status.st_dev, status.st_ino) in visited:
            subdirectories.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        subdirectories.sort()
        names = filter(_is_audio, subdirectories + files)
        paths += [os.path.join(directory, name) for name in names]
    return _with_names(paths, root), _with_names(unreadable, root)


def _with_names(paths: Iterable[str], root: Path) -> FileList:
    return [(path, os.path.relpath(path, root)) for path in paths]


def _list_remote(source: str) -> list[str]:
    try:
        return list(remote.list_files(source))
    except OSError as error:
        raise UserError(f"source {source}: {error.strerror}") from error


def _is_audio(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS)
