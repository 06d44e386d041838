"""Loads, replaces and unloads the versions of a model in a directory."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc

from stftgan_tf.serving import version_state
from stftgan_tf.serving.errors import RequestError, invalid_argument
from stftgan_tf.serving.model import ModelVersion
from stftgan_tf.serving.model_config import ModelConfig
from stftgan_tf.serving.options import ServerOptions
from stftgan_tf.serving.version_files import (
    list_files,
    load_failure,
    version_directories,
)
from stftgan_tf.serving.version_state import Version, VersionStatus

_LOG = logging.getLogger(__name__)


class VersionManager:
    """Serves the versions of a model that its policy selects.

    A version is a directory whose name is a whole number. Each version loads
    in its own thread while the others serve, so a load that hangs blocks
    neither newer versions nor the exit. A version that the policy no longer
    selects is closed after its last request, and not before the selected ones
    are available. If a version fails to load, its status says why, the next
    older one takes its place, and it is tried again when its files have
    changed.

    Attributes:
      name: the model's name in requests.
      config: the directory, policy and labels of the versions.
      is_available: whether a version is available.
    """

    def __init__(self, name: str, config: ModelConfig, options: ServerOptions):
        """Starts to load the selected versions, and to poll for new ones.

        Args:
          name: the model's name in requests.
          config: the directory, policy and labels of the versions.
          options: the seconds between polls and the limits of requests.
        """
        self.name, self.config, self._options = name, config, options
        # Held while versions are selected, which may read slow files.
        self._changing = threading.Lock()
        # Held for moments only, because every request needs it.
        self._lock = threading.Lock()
        self._paths: dict[int, Path] = {}
        self._versions: dict[int, Version] = {}
        self._statuses: dict[int, VersionStatus] = {}
        self.is_available = False
        self._on_change: Callable[[bool], None] = lambda available: None
        self._closing = threading.Event()
        self.poll()
        threading.Thread(target=self._poll_loop, daemon=True).start()

    def close(self) -> None:
        """Stops polling and unloads each version after its last request."""
        self._closing.set()
        with self._lock:
            versions = dict(self._versions)
            self._versions.clear()
            for number, version in versions.items():
                self._mark_unloading(number, version)
        for number, version in versions.items():
            self._release(number, version)
        self._notify()

    def configure(self, config: ModelConfig) -> None:
        """Changes policy and labels; the directory must stay the same."""
        self.config = config
        self.poll()

    @property
    def is_settled(self) -> bool:
        """Whether no load is worth waiting for.

        One that may hang is, as long as no other version is available.
        """
        if not self._changing.acquire(blocking=False):
            return False
        try:
            versions = self._versions.values()
            if any(v.model for v in versions):
                return all(v.is_settled for v in versions)
            return all(v.failed for v in versions)
        finally:
            self._changing.release()

    def on_change(self, callback: Callable[[bool], None]) -> None:
        """Calls a function, now and after every change.

        Args:
          callback: a function of whether a version is available.
        """
        with self._lock:
            self._on_change = callback
            callback(self.is_available)

    @contextlib.contextmanager
    def use(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> Iterator[ModelVersion]:
        """Yields a version, which stays loaded during the block.

        Args:
          name: the name of the model.
          version: the version; None for the newest that is available.
          label: the label of the version, instead of its number.

        Raises:
          RequestError: NOT_FOUND, if this model or version is not served;
            INVALID_ARGUMENT, if there is no such label.
        """
        if label is not None:
            version = self._labelled(name, label)
        with self._lock:
            number, used = self._find(name, version)
            used.users += 1
        try:
            yield used.model
        finally:
            self._release(number, used)

    def statuses(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> list[VersionStatus]:
        """Returns the statuses of one or all versions, newest first.

        Raises:
          RequestError: as `use`.
        """
        if label is not None:
            version = self._labelled(name, label)
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
        """Reads the directory, and starts or stops versions accordingly."""
        # First, because a file system that hangs must not hold the lock.
        paths = version_directories(self.config.base_path)
        with self._changing:
            self._paths = paths
            self._apply_policy()

    def _poll_loop(self) -> None:
        secs = self._options.file_system_poll_wait_seconds
        while not self._closing.wait(secs or 1.0):
            try:
                if secs:
                    self.poll()
                else:
                    self._replace_overdue()
            except OSError as error:
                path = self.config.base_path
                _LOG.warning("%s: %s", path, error.strerror)

    def _replace_overdue(self) -> None:
        """Starts an older version for one that may hang, without a poll."""
        with self._changing:
            versions = self._versions.values()
            if any(v.is_overdue and not v.is_reported for v in versions):
                self._apply_policy()

    def _labelled(self, name: str, label: str) -> int:
        version = self.config.labels.get(label)
        if name != self.name or version is None:
            raise invalid_argument(
                f"Unrecognized servable version label: {label}"
            )
        return version

    def _find(self, name: str, version: int | None) -> tuple[int, Version]:
        """A version, or the newest one, that is available."""
        available = [n for n, v in self._versions.items() if v.model]
        number = max(available, default=None) if version is None else version
        if name != self.name or number not in available:
            raise _model_not_found(name, version)
        return number, self._versions[number]

    def _apply_policy(self) -> None:
        """Loads the selected versions, then unloads the others."""
        if self._closing.is_set():
            return
        selected = self._select()
        versions = [self._versions[number] for number in selected]
        is_complete = all(v.is_settled for v in versions) and any(
            v.model for v in versions
        )
        for number, version in list(self._versions.items()):
            is_gone = number not in self._paths and not version.model
            if is_gone or (is_complete and number not in selected):
                # A failure is remembered until its files change.
                if is_gone or not version.failed:
                    self._unload(number)
        self._notify()

    def _select(self) -> set[int]:
        """Selects versions, newest first, and starts to load new ones.

        One that failed, or that may hang, does not count, so that an older
        one takes its place.
        """
        policy, selected, count = self.config.policy, set(), 0
        for number in sorted(self._paths, reverse=True):
            if policy.versions is not None and number not in policy.versions:
                continue
            if count == policy.latest:
                break
            version = self._versions.get(number)
            if version is None or self._is_worth_a_retry(version):
                version = self._start(number)
            if not version.failed:
                selected.add(number)
                count += not version.is_overdue
            if version.is_overdue and not version.is_reported:
                version.is_reported = True
                text = "%s: version %d is still loading after %g s"
                secs = version_state.LOAD_PATIENCE_SECS
                _LOG.warning(text, self.name, number, secs)
        return selected

    def _is_worth_a_retry(self, version: Version) -> bool:
        if version.failed or version.is_overdue:
            return list_files(version.path) != version.files
        return False

    def _start(self, number: int) -> Version:
        path = self._paths[number]
        version = Version(path, list_files(path))
        with self._lock:
            self._versions[number] = version
            self._statuses[number] = VersionStatus(number, "LOADING")
        threading.Thread(
            target=self._load, args=(number, version), daemon=True
        ).start()
        return version

    def _load(self, number: int, version: Version) -> None:
        model, status = None, VersionStatus(number, "AVAILABLE")
        try:
            model = ModelVersion(
                version.path,
                number,
                self._options.max_batch_size,
                self._options.enable_model_warmup,
            )
        # A damaged export can raise any type of exception.
        except Exception as error:
            status = VersionStatus(
                number, "END", "INVALID_ARGUMENT", load_failure(error)
            )
        with self._changing:
            with self._lock:
                is_current = self._versions.get(number) is version
                is_current &= not self._closing.is_set()
                if is_current:
                    version.model, version.failed = model, model is None
                    self._statuses[number] = status
            if is_current:
                self._report(status)
                self._apply_policy()
        if model and not is_current:
            model.close()

    def _report(self, status: VersionStatus) -> None:
        if status.message:
            text = f"failed to load: {status.message}"
            _LOG.warning("%s: version %d %s", self.name, status.version, text)
        else:
            _LOG.info("%s: version %d is available", self.name, status.version)

    def _unload(self, number: int) -> None:
        with self._lock:
            version = self._versions.pop(number)
            self._mark_unloading(number, version)
        self._release(number, version)

    def _mark_unloading(self, number: int, version: Version) -> None:
        if version.model:
            self._statuses[number] = VersionStatus(number, "UNLOADING")
        elif not version.failed:
            self._statuses[number] = VersionStatus(number, "END", "CANCELLED")

    def _release(self, number: int, version: Version) -> None:
        """Removes one user of a version, and closes it after the last one."""
        with self._lock:
            version.users -= 1
            if version.users or not version.model:
                return
            # The same version may have been removed and loaded again.
            if number not in self._versions:
                self._statuses[number] = VersionStatus(number, "END")
        version.model.close()
        _LOG.info("%s: version %d is unloaded", self.name, number)

    def _notify(self) -> None:
        """Reports when the first version comes or the last one goes."""
        with self._lock:
            available = any(v.model for v in self._versions.values())
            if available != self.is_available:
                self.is_available = available
                self._on_change(available)


def _model_not_found(name: str, version: int | None) -> RequestError:
    request = (
        f"Latest({name})" if version is None else f"Specific({name}, {version})"
    )
    return RequestError(
        grpc.StatusCode.NOT_FOUND,
        f"Servable not found for request: {request}",
    )
