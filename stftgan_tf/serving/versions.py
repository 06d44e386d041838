"""Loads, replaces and unloads the versions of a model in a directory."""

import contextlib
import dataclasses
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc

from stftgan_tf.errors import first_line
from stftgan_tf.serving.errors import RequestError
from stftgan_tf.serving.model import ModelVersion
from stftgan_tf.serving.options import is_export

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """The status of one version, in TensorFlow Serving's terms.

    Attributes:
      version: the version number.
      state: LOADING, AVAILABLE, UNLOADING or END.
      code: OK, or the status code of the error that ended the version.
      message: the message of this error.
    """

    version: int
    state: str
    code: str = "OK"
    message: str = ""


class VersionManager:
    """Serves the newest version that loads, and polls for newer ones.

    A version is a directory whose name is a whole number. A new version loads
    while the previous one serves; the previous one is closed after its last
    request. If a version fails to load, its status says why, and it is tried
    again when its files have changed.
    """

    def __init__(
        self, name: str, base_path: Path, poll_secs: float, max_batch_size: int
    ):
        """Loads the newest version and starts to poll.

        Args:
          name: the model's name in requests.
          base_path: the directory of the versions, or an export.
          poll_secs: seconds between polls; 0 disables polling.
          max_batch_size: the maximum number of rows in a request.
        """
        self.name, self._base_path = name, base_path
        self._poll_secs, self._max_batch_size = poll_secs, max_batch_size
        self._lock = threading.Lock()
        self._current: ModelVersion | None = None
        # Reference counts: requests in progress, plus one for the current
        # version.
        self._users: dict[ModelVersion, int] = {}
        self._statuses: dict[int, VersionStatus] = {}
        # File lists of the versions that failed to load.
        self._failed: dict[int, object] = {}
        self._on_change: Callable[[bool], None] = lambda available: None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._poll_loop, daemon=True)
        self.poll()
        if poll_secs:
            self._thread.start()

    def close(self) -> None:
        """Stops polling and unloads the model after its last request."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        self._replace_current(None)

    def on_change(self, callback: Callable[[bool], None]) -> None:
        """Calls a function, now and after every change.

        Args:
          callback: a function of whether a version is available.
        """
        with self._lock:
            self._on_change = callback
            callback(self._current is not None)

    @contextlib.contextmanager
    def use(self, name: str, version: int | None) -> Iterator[ModelVersion]:
        """Yields the current model, which stays loaded during the block.

        Args:
          name: the name of the model.
          version: the version; None for the current one.

        Raises:
          RequestError: NOT_FOUND, if this model or version is not served.
        """
        with self._lock:
            model = self._current
            if (
                model is None
                or name != self.name
                or version not in (None, model.version)
            ):
                raise _model_not_found(name, version)
            self._users[model] += 1
        try:
            yield model
        finally:
            self._release(model)

    def statuses(self, name: str, version: int | None) -> list[VersionStatus]:
        """Returns the statuses of one or all versions, newest first.

        Raises:
          RequestError: NOT_FOUND, if there is none.
        """
        with self._lock:
            statuses = sorted(self._statuses.items(), reverse=True)
        selected = [
            status
            for number, status in statuses
            if name == self.name and version in (None, number)
        ]
        if not selected:
            what = "any versions" if version is None else f"version {version}"
            raise RequestError(
                grpc.StatusCode.NOT_FOUND,
                f"Could not find {what} of model {name}",
            )
        return selected

    def poll(self) -> None:
        """Switches to the newest version that loads."""
        directories = _version_directories(self._base_path)
        for version in sorted(directories, reverse=True):
            path = directories[version]
            if self._current and version == self._current.version:
                return
            files = _list_files(path)
            if self._failed.get(version) == files:
                continue
            model = self._load(path, version)
            if model:
                self._failed.pop(version, None)
                self._replace_current(model)
                return
            self._failed[version] = files

    def _poll_loop(self) -> None:
        while not self._closing.wait(self._poll_secs):
            try:
                self.poll()
            except OSError as error:
                _LOG.warning("%s: %s", self._base_path, error.strerror)

    def _load(self, path: Path, version: int) -> ModelVersion | None:
        self._set_status(VersionStatus(version, "LOADING"))
        try:
            return ModelVersion(path, version, self._max_batch_size)
        # A damaged export can raise any type of exception.
        except Exception as error:
            reason = first_line(error)
            _LOG.warning("version %d failed to load: %s", version, reason)
            status = VersionStatus(version, "END", "INVALID_ARGUMENT", reason)
            self._set_status(status)
            return None

    def _replace_current(self, model: ModelVersion | None) -> None:
        with self._lock:
            old, self._current = self._current, model
            if model:
                self._users[model] = 1
            self._on_change(model is not None)
        if model:
            self._set_status(VersionStatus(model.version, "AVAILABLE"))
            _LOG.info("version %d is available", model.version)
        if old:
            self._set_status(VersionStatus(old.version, "UNLOADING"))
            self._release(old)

    def _release(self, model: ModelVersion) -> None:
        """Removes one user of a model, and closes it after the last one."""
        with self._lock:
            self._users[model] -= 1
            if self._users[model]:
                return
            del self._users[model]
            # The same version may have been removed and loaded again.
            current = self._current
            if current is None or current.version != model.version:
                self._statuses[model.version] = VersionStatus(
                    model.version, "END"
                )
        model.close()
        _LOG.info("version %d is unloaded", model.version)

    def _set_status(self, status: VersionStatus) -> None:
        with self._lock:
            self._statuses[status.version] = status


def is_version(name: str) -> bool:
    """Whether a name is a version number, which is an int64 in requests."""
    # Python refuses to convert strings of thousands of digits.
    digits = name.isascii() and name.isdigit() and len(name) < 100
    return digits and int(name) < 2**63


def _model_not_found(name: str, version: int | None) -> RequestError:
    request = (
        f"Latest({name})" if version is None else f"Specific({name}, {version})"
    )
    return RequestError(
        grpc.StatusCode.NOT_FOUND,
        f"Servable not found for request: {request}",
    )


def _version_directories(base_path: Path) -> dict[int, Path]:
    """Directories by version; an export itself is version 1."""
    if is_export(base_path):
        return {1: base_path}
    return {
        int(path.name): path
        for path in base_path.iterdir()
        if is_version(path.name) and path.is_dir()
    }


def _list_files(directory: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and modification times of all files."""
    files = []
    for path in sorted(directory.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            stat = path.stat()
            files.append((str(path), stat.st_size, stat.st_mtime_ns))
    return files
