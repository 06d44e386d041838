"""Audio files in a directory, local or remote."""

import collections
import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline import remote, storage
from pipeline.audio.containers import formats
from stftgan_tf.errors import UserError, counted

# For each file, its path and its name (its path relative to the source).
FileList = list[tuple[str, str]]

# Folders in which systems keep copies and previews of other files, and deleted
# files: archives of macOS, notebooks, Synology, QNAP, Windows, Linux.
_SYSTEM_FOLDERS = (
    "__MACOSX",
    ".ipynb_checkpoints",
    "@eaDir",
    "#recycle",
    "@Recycle",
    "lost+found",
    "$RECYCLE.BIN",
    "System Volume Information",
)

# Kinds of files that one line mentions.
_MAX_KINDS = 6


@dataclasses.dataclass
class Files:
    """The files below a directory.

    Attributes:
      files: all with an audio extension.
      unreadable: local subdirectories that cannot be read.
      left_out: number of other files by kind: their extension, or why an audio
        file does not count (`hidden`, `._*`, `__MACOSX`).
    """

    files: FileList
    unreadable: FileList
    left_out: collections.Counter[str]


def list_files(source: str) -> Files:
    """Lists the audio files below a directory.

    Args:
      source: the directory, local or remote.

    Raises:
      UserError: if there is no such directory.
    """
    if storage.is_remote(source):
        return _list_remote(source)
    path = Path(source)
    if path.is_dir():
        return walk(path)
    if path.exists():
        raise UserError(
            f"source {source} is a file; expected a directory, a manifest "
            "(.csv, .tsv or .jsonl), tfds:NAME or demo"
        )
    raise UserError(f"source {source} does not exist")


def walk(root: Path) -> Files:
    """`list_files` for a local directory; follows links.

    Everything with an audio extension is listed, even a directory, so that it
    becomes a dead letter if it is not audio. Unreadable directories also become
    dead letters.
    """
    paths: list[str] = []
    unreadable: list[str] = []
    left_out: collections.Counter[str] = collections.Counter()
    visited: set[tuple[int, int]] = set()
    extensions = formats.readable_extensions()

    def add_unreadable(error: OSError) -> None:
        unreadable.append(str(error.filename))

    for directory, subdirectories, files in os.walk(
        root, onerror=add_unreadable, followlinks=True
    ):
        if _was_visited(directory, visited):
            subdirectories.clear()
            continue
        for name in filter(_hidden_kind, subdirectories):
            kind = _hidden_kind(name)
            path = os.path.join(directory, name)
            left_out[kind] += _count_audio(path, extensions)
        subdirectories[:] = sorted(
            name for name in subdirectories if not _hidden_kind(name)
        )
        names = [n for n in subdirectories if _is_audio(n, extensions)]
        names += [n for n in files if _is_recording(n, extensions, left_out)]
        paths += [os.path.join(directory, name) for name in names]
    return Files(
        _with_names(paths, root), _with_names(unreadable, root), +left_out
    )


def describe_left_out(left_out: Mapping[str, int]) -> str:
    """One line about the files that do not count as recordings.

    Example: `left out 20 files: 12 .m4a, 8 .txt; to read .m4a: pip install
    '.[av]'`.
    """
    total = sum(left_out.values())
    ordered = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    kinds = [f"{count} {kind}" for kind, count in ordered[:_MAX_KINDS]]
    if len(ordered) > _MAX_KINDS:
        rest = sum(count for _, count in ordered[_MAX_KINDS:])
        kinds.append(f"{rest} others")
    line = f"left out {counted(total, 'file')}: {', '.join(kinds)}"
    readable = formats.readable_extensions()
    for_av = [
        kind
        for kind in sorted(left_out)
        if kind in formats.AV_EXTENSIONS and kind not in readable
    ]
    if for_av:
        line += f"; to read {' '.join(for_av)}: pip install '.[av]'"
    return line


def _is_audio(name: str, extensions: tuple[str, ...]) -> bool:
    return name.lower().endswith(extensions)


def _was_visited(directory: str, visited: set[tuple[int, int]]) -> bool:
    """Adds a directory; a link to its parent would be followed without end."""
    status = os.stat(directory)
    identity = status.st_dev, status.st_ino
    if identity in visited:
        return True
    visited.add(identity)
    return False


def _is_recording(
    name: str, extensions: tuple[str, ...], left_out: collections.Counter[str]
) -> bool:
    """Whether a file counts as a recording; counts it otherwise."""
    hidden = _hidden_kind(name)
    if _is_audio(name, extensions):
        if not hidden:
            return True
        left_out[hidden] += 1
    elif not hidden:
        left_out[_extension(name)] += 1
    return False


def _hidden_kind(name: str) -> str | None:
    """Why a file or folder does not count; None if it counts."""
    if name in _SYSTEM_FOLDERS:
        return name
    # macOS keeps the attributes of x.wav in ._x.wav on foreign disks.
    if name.startswith("._"):
        return "._*"
    return "hidden" if name.startswith(".") else None


def _extension(name: str) -> str:
    extension = os.path.splitext(name)[1].lower()
    return extension or "without extension"


def _count_audio(directory: str, extensions: tuple[str, ...]) -> int:
    """Number of audio files below a folder that does not count."""
    return sum(
        _is_audio(name, extensions)
        for _, _, names in os.walk(directory)
        for name in names
    )


def _with_names(paths: Iterable[str], root: Path) -> FileList:
    return [(path, os.path.relpath(path, root)) for path in paths]


def _list_remote(source: str) -> Files:
    try:
        names = list(remote.list_files(source))
    except OSError as error:
        raise UserError(f"source {source}: {error.strerror}") from error
    files, left_out = [], collections.Counter()
    extensions = formats.readable_extensions()
    for name in names:
        folder, _, file = name.rpartition("/")
        hidden = next(filter(None, map(_hidden_kind, folder.split("/"))), None)
        if hidden:
            left_out[hidden] += _is_audio(file, extensions)
        elif _is_recording(file, extensions, left_out):
            files.append((storage.join(source, name), name))
    return Files(files, [], +left_out)
