"""Files by path, local or remote: `s3://`, `gs://`, `hdfs://` through Beam.

Local paths are handled by Python itself: renaming a folder is one step there,
which no object store offers. Beam is loaded where a remote path is met.
"""

import collections
import contextlib
import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from stftgan_tf.errors import UserError, first_line
from stftgan_tf.files import published_dir
from stftgan_tf.files import refuse_existing as refuse_existing_dir

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions


# Shards are written record by record. (More no longer fits the caches.)
_BUFFER_BYTES = 1 << 18

# Shards that may be on their way to the disk at once.
_MAX_SYNCS = 8

# Options of Beam's that its file systems read.
_OPTIONS = ("azure_", "gcs_", "hdfs_", "s3_")


def options_for_workers(options: "PipelineOptions") -> dict[str, Any]:
    """What `use_options` needs: not every runner tells its workers."""
    values = options.get_all_options(drop_default=True)
    return {k: v for k, v in values.items() if k.startswith(_OPTIONS)}


def use_options(values: dict[str, Any]) -> None:
    """Tells Beam's file systems in this process how to reach what."""
    if not values:
        return
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions

    FileSystems.set_options(PipelineOptions.from_dictionary(values))


def is_remote(path: str) -> bool:
    """Whether a path belongs to one of Beam's file systems."""
    return "://" in path


def join(root: str, *parts: str) -> str:
    """A path below another one."""
    if is_remote(root):
        return "/".join([root.rstrip("/"), *parts])
    return os.path.join(root, *parts)


def check_access(path: str, options: "PipelineOptions | None" = None) -> None:
    """Raises UserError for an S3 path where nobody says who we are.

    Beam would try again and again for minutes.
    """
    if not path.startswith("s3://"):
        return
    try:
        import boto3
        import botocore.exceptions
    except ImportError as error:
        raise UserError(
            f"{path} needs boto3, which is not installed: pip install '.[s3]'"
        ) from error
    told = options and options_for_workers(options).get("s3_access_key_id")
    try:
        known = told or boto3.Session().get_credentials() is not None
    # Such as of a profile that is not there.
    except botocore.exceptions.BotoCoreError as error:
        raise UserError(f"{path}: {first_line(error)}") from error
    if not known:
        raise UserError(
            f"{path}: no credentials for S3; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or give --s3_access_key_id and "
            "--s3_secret_access_key"
        )


def use_environment(path: str) -> None:
    """For who has no options of Beam's: `S3_ENDPOINT`, as TensorFlow reads it.

    Raises:
      UserError: as `check_access`.
    """
    check_access(path)
    endpoint = os.environ.get("S3_ENDPOINT")
    if endpoint and path.startswith("s3://"):
        use_options({"s3_endpoint_url": endpoint})


def exists(path: str) -> bool:
    """Whether there is a file of that name."""
    if is_remote(path):
        return _remotely("exists", path)
    return os.path.exists(path)


def files_below(root: str) -> Iterator[str]:
    """Relative paths of all files below a remote folder."""
    start = root.rstrip("/") + "/"
    if root.startswith("hdfs://"):
        found = _below_on_hdfs(start) if exists(start) else []
        yield from (path[len(start) :] for path in found)
        return
    for match in _remotely("match", [start + "**"]):
        for file in match.metadata_list:
            if not file.path.endswith("/"):
                yield file.path[len(start) :]


def _below_on_hdfs(folder: str) -> Iterator[str]:
    """All files below: Beam lists one level there, and folders as well."""
    for match in _remotely("match", [folder]):
        for entry in match.metadata_list:
            # A folder has no bytes, nor has an empty file, which has no list.
            if not entry.size_in_bytes:
                try:
                    yield from list(_below_on_hdfs(f"{entry.path}/"))
                    continue
                except OSError as error:
                    if "not a directory" not in str(error):
                        raise
            yield entry.path


@contextlib.contextmanager
def open_input(path: str) -> Iterator[BinaryIO]:
    """A file to read and to seek in.

    Raises:
      OSError: if it cannot be opened.
    """
    if not is_remote(path):
        with open(path, "rb") as file:
            yield file
        return
    file = _remotely("open", path, compression_type="uncompressed")
    with contextlib.closing(file):
        yield file


@contextlib.contextmanager
def local_copy(path: str) -> Iterator[str]:
    """A remote file as a temporary local one.

    Raises:
      OSError: if it cannot be read.
    """
    with (
        open_input(path) as source,
        tempfile.NamedTemporaryFile() as copy,
    ):
        try:
            shutil.copyfileobj(source, copy, 1 << 20)
        # As in `_remotely`.
        except Exception as error:
            raise _failed(error, path) from error
        copy.flush()
        yield copy.name


class Syncs:
    """Brings files to the disk by a thread while others are written."""

    def __init__(self):
        self._thread = ThreadPoolExecutor(1)
        self._pending: collections.deque[Future] = collections.deque()

    def add(self, file: BinaryIO) -> None:
        """Takes over a file that has been written.

        Raises:
          OSError: if an earlier one could not be brought there.
        """
        self._pending.append(self._thread.submit(_sync, file))
        # Each of them is open, and waiting.
        if len(self._pending) > _MAX_SYNCS:
            self._pending.popleft().result()

    def wait(self) -> None:
        """Returns when all are on the disk.

        Raises:
          OSError: if one could not be brought there.
        """
        while self._pending:
            self._pending.popleft().result()


def _sync(file: BinaryIO) -> None:
    with file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def create(path: str, syncs: Syncs) -> Iterator[BinaryIO]:
    """A file to write, on the disk once `syncs.wait` has returned.

    A file of that name is replaced: a bundle that is tried again finds what
    the first try left. Remotely there is no file where nothing is written.

    Raises:
      OSError: if it cannot be written.
    """
    if is_remote(path):
        with contextlib.closing(_RemoteFile(path)) as file:
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
        # Where flushing fails (a full disk), closing fails too; without it
        # the file would try once more when it is forgotten.
        file.close()
        raise
    syncs.add(file)


class _RemoteFile:
    """A remote file to write, opened with its first bytes.

    (Beam cannot make an empty one on S3: an upload has at least one part.)
    """

    def __init__(self, path: str):
        self._path, self._file = path, None

    def write(self, data: bytes) -> None:
        if not data:
            return
        try:
            self._file = self._file or _remotely(
                "create", self._path, compression_type="uncompressed"
            )
            self._file.write(data)
        # As in `_remotely`.
        except Exception as error:
            raise _failed(error, self._path) from error

    def close(self) -> None:
        try:
            if self._file:
                self._file.close()
        except Exception as error:
            raise _failed(error, self._path) from error


def write_text(path: str, text: str) -> None:
    """Writes a file in UTF-8."""
    syncs = Syncs()
    with create(path, syncs) as file:
        file.write(text.encode())
    syncs.wait()


def read_text(path: str) -> str:
    """Reads a file in UTF-8."""
    with open_input(path) as file:
        return file.read().decode()


def delete(path: str) -> None:
    """Removes a file."""
    if is_remote(path):
        _remotely("delete", [path])
    else:
        os.unlink(path)


def refuse_existing(target: str, marker: str, overwrite: bool) -> None:
    """As `files.refuse_existing`, for a remote target too."""
    if not is_remote(target):
        refuse_existing_dir(Path(target), marker, overwrite)
        return
    names = list(files_below(target))
    if names and marker not in names:
        # Shards of a job that was killed would be read with the new ones.
        raise UserError(
            f"{target} holds something else (no {marker}), or what a killed "
            "job left; remove it, or choose another --output"
        )
    if names and not overwrite:
        raise UserError(f"{target} exists; use --overwrite to replace it")


@contextlib.contextmanager
def published(target: str, marker: str, overwrite: bool) -> Iterator[str]:
    """Yields a folder to fill, whose files become `target`'s.

    Locally by one rename. Remotely file by file, the marker last: without it
    a folder is no data set; an old set loses its marker first. What fails then
    has lost nothing of the new set: it is told where its files are.

    Raises:
      UserError: if the target exists and may not be replaced, or was replaced
        in part only.
    """
    if not is_remote(target):
        with published_dir(Path(target), marker, overwrite) as staging:
            yield str(staging)
        return
    refuse_existing(target, marker, overwrite)
    parent, _, name = target.rstrip("/").rpartition("/")
    staging = f"{parent}/.incomplete-{name}-{uuid.uuid4().hex}"
    try:
        yield staging
        refuse_existing(target, marker, overwrite)
        old, new = list(files_below(target)), list(files_below(staging))
        if old:
            delete(join(target, marker))
    except BaseException:
        left = [join(staging, name) for name in files_below(staging)]
        if left:
            _remotely("delete", left)
        raise
    hint = (
        f"move what is left in {staging} there, {marker} last, or remove both"
    )
    try:
        rest = [join(target, name) for name in old if name != marker]
        if rest:
            _remotely("delete", rest)
        for name in sorted(new, key=lambda name: name == marker):
            _remotely("rename", [join(staging, name)], [join(target, name)])
    except OSError as error:
        raise UserError(
            f"{target} was replaced in part only: {first_line(error)}: {hint}"
        ) from error
    except KeyboardInterrupt:
        logging.warning("%s was replaced in part only: %s", target, hint)
        raise


def _remotely(call: str, *args: object, **more: object):
    """What a function of Beam's `FileSystems` returns.

    Raises:
      OSError: for whatever goes wrong; each system has its own exceptions.
    """
    from apache_beam.io.filesystems import FileSystems

    try:
        return getattr(FileSystems, call)(*args, **more)
    except Exception as error:
        raise _failed(error, str(args[0])) from error


def _failed(error: Exception, path: str) -> OSError:
    number = (error.errno if isinstance(error, OSError) else None) or 0
    return OSError(number, first_line(error), path)
