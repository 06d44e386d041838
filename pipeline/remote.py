"""Remote files (`s3://`, `gs://`, `hdfs://`), through Beam's file systems.

Beam is loaded only when a remote path is used.
"""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from stftgan_tf.errors import UserError, first_line

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

# URLs that belong to none of Beam's file systems.
OTHER_URLS = ("http://", "https://", "ftp://", "file://")

# Prefixes of the Beam options that configure its file systems.
_OPTION_PREFIXES = ("azure_", "gcs_", "hdfs_", "s3_")


def file_system_options(options: "PipelineOptions") -> dict[str, Any]:
    """The options of Beam's file systems, for `set_file_system_options`.

    The job passes them to its workers, because not every runner does.
    """
    values = options.get_all_options(drop_default=True)
    return {k: v for k, v in values.items() if k.startswith(_OPTION_PREFIXES)}


def set_file_system_options(values: dict[str, Any]) -> None:
    """Configures Beam's file systems in this process."""
    if not values:
        return
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions

    FileSystems.set_options(PipelineOptions.from_dictionary(values))


def check_credentials(
    path: str, options: "PipelineOptions | None" = None
) -> None:
    """Checks that credentials for an S3 path are available.

    Without credentials Beam would retry for minutes.

    Raises:
      UserError: if there are no credentials, boto3 is not installed, or the
        path is a URL of none of Beam's file systems.
    """
    if path.lower().startswith(OTHER_URLS):
        raise UserError(
            f"{path} cannot be read; expected a path, or a URL of s3://, "
            "gs:// or hdfs://"
        )
    if not path.startswith("s3://"):
        return
    try:
        import boto3
        import botocore.exceptions
    except ImportError as error:
        raise UserError(
            f"{path} requires boto3, which is not installed: "
            "pip install '.[s3]'"
        ) from error
    values = file_system_options(options) if options else {}
    try:
        has_credentials = values.get("s3_access_key_id") or (
            boto3.Session().get_credentials() is not None
        )
    # For example, the profile does not exist.
    except botocore.exceptions.BotoCoreError as error:
        raise UserError(f"{path}: {first_line(error)}") from error
    if not has_credentials:
        raise UserError(
            f"{path}: no credentials for S3; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or pass --s3_access_key_id and "
            "--s3_secret_access_key"
        )


def configure_from_environment(path: str) -> None:
    """Configures S3 for a command that has no Beam options.

    Reads `S3_ENDPOINT`, the variable that TensorFlow also reads.

    Raises:
      UserError: for the same reasons as `check_credentials`.
    """
    check_credentials(path)
    endpoint = os.environ.get("S3_ENDPOINT")
    if endpoint and path.startswith("s3://"):
        set_file_system_options({"s3_endpoint_url": endpoint})


def list_files(root: str) -> Iterator[str]:
    """Relative paths of all files below a remote directory."""
    start = root.rstrip("/") + "/"
    if root.startswith("hdfs://"):
        paths = _list_hdfs(start) if call("exists", start) else []
        yield from (path[len(start) :] for path in paths)
        return
    for match in call("match", [start + "**"]):
        for file in match.metadata_list:
            if not file.path.endswith("/"):
                yield file.path[len(start) :]


def _list_hdfs(directory: str) -> Iterator[str]:
    """All files below an HDFS directory.

    Beam lists only one level there, and lists directories as files.
    """
    for match in call("match", [directory]):
        for entry in match.metadata_list:
            # The size of a directory is 0. So is that of an empty file, but
            # listing that fails.
            if not entry.size_in_bytes:
                try:
                    yield from list(_list_hdfs(f"{entry.path}/"))
                    continue
                except OSError as error:
                    if "not a directory" not in str(error):
                        raise
            yield entry.path


class RemoteFile:
    """A remote file for writing, which is opened by the first write.

    Beam cannot create an empty file on S3: an upload has at least one part.
    """

    def __init__(self, path: str):
        self._path, self._file = path, None

    def write(self, data: bytes) -> None:
        """Appends data.

        Raises:
          OSError: if it cannot be written.
        """
        if not data:
            return
        try:
            self._file = self._file or call(
                "create", self._path, compression_type="uncompressed"
            )
            self._file.write(data)
        # Each file system raises its own exceptions.
        except Exception as error:
            raise as_os_error(error, self._path) from error

    def close(self) -> None:
        """Closes the file if it has been opened.

        Raises:
          OSError: if the upload cannot be completed.
        """
        try:
            if self._file:
                self._file.close()
        except Exception as error:
            raise as_os_error(error, self._path) from error


def call(function: str, *args: object, **kwargs: object):
    """Calls a function of Beam's `FileSystems` and returns its result.

    Raises:
      OSError: for any failure; each file system raises its own exceptions.
    """
    from apache_beam.io.filesystems import FileSystems

    try:
        return getattr(FileSystems, function)(*args, **kwargs)
    except Exception as error:
        raise as_os_error(error, str(args[0])) from error


def as_os_error(error: Exception, path: str) -> OSError:
    """The error as an OSError, which keeps the error number if there is one."""
    number = (error.errno if isinstance(error, OSError) else None) or 0
    return OSError(number, first_line(error), path)
