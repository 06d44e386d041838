"""The versions of a model below a folder: found, loaded, swapped, unloaded."""

import contextlib
import dataclasses
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc

from stftgan_tf.errors import first_line
from stftgan_tf.serving.servable import Refusal, Servable

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Status:
    """Of a version, in TensorFlow Serving's words.

    Attributes:
      version: its number.
      state: LOADING, AVAILABLE, UNLOADING or END.
      code: OK, or why it ended.
      message: the same in words.
    """

    version: int
    state: str
    code: str = "OK"
    message: str = ""


class Versions:
    """Serves the newest version that loads, and keeps looking for newer ones.

    A version is a folder whose name is a whole number. The next one is loaded
    while the one before serves; that is closed when its last request is
    answered. One that does not load is told of and tried again once its files
    have changed.
    """

    def __init__(
        self, name: str, base_path: Path, poll_secs: float, max_batch_size: int
    ):
        """Looks once, and then every `poll_secs` in a thread; 0 only once."""
        self.name, self._base_path = name, base_path
        self._poll_secs, self._max_batch_size = poll_secs, max_batch_size
        self._lock = threading.Lock()
        self._current: Servable | None = None
        self._users: dict[Servable, int] = {}
        self._statuses: dict[int, Status] = {}
        # Files of versions that did not load.
        self._failed: dict[int, object] = {}
        self._changed: Callable[[bool], None] = lambda serves: None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.poll()
        if poll_secs:
            self._thread.start()

    def close(self) -> None:
        """Looks no more and unloads what is loaded."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        self._swap(None)

    def tell_of_change(self, changed: Callable[[bool], None]) -> None:
        """Calls it now and after every change: whether any version serves."""
        with self._lock:
            self._changed = changed
            changed(self._current is not None)

    @contextlib.contextmanager
    def borrowed(self, name: str, version: int | None) -> Iterator[Servable]:
        """The version that serves; it stays loaded until given back.

        Raises:
          Refusal: NOT_FOUND, if that model or version does not serve.
        """
        with self._lock:
            servable = self._current
            if (
                servable is None
                or name != self.name
                or version not in (None, servable.version)
            ):
                asked = (
                    f"Latest({name})"
                    if version is None
                    else f"Specific({name}, {version})"
                )
                raise Refusal(
                    grpc.StatusCode.NOT_FOUND,
                    f"Servable not found for request: {asked}",
                )
            self._users[servable] += 1
        try:
            yield servable
        finally:
            self._give_back(servable)

    def statuses(self, name: str, version: int | None) -> list[Status]:
        """Of all versions ever seen, newest first, or of one.

        Raises:
          Refusal: NOT_FOUND, if there is none.
        """
        with self._lock:
            seen = sorted(self._statuses.items(), reverse=True)
        found = [
            status
            for number, status in seen
            if name == self.name and version in (None, number)
        ]
        if not found:
            what = "any versions" if version is None else f"version {version}"
            raise Refusal(
                grpc.StatusCode.NOT_FOUND,
                f"Could not find {what} of model {name}",
            )
        return found

    def poll(self) -> None:
        """Takes the newest version that loads, if it is another one."""
        found = _numbered(self._base_path)
        for version in sorted(found, reverse=True):
            path = found[version]
            if self._current and version == self._current.version:
                return
            files = _files_of(path)
            if self._failed.get(version) == files:
                continue
            servable = self._load(path, version)
            if servable:
                self._failed.pop(version, None)
                self._swap(servable)
                return
            self._failed[version] = files

    def _watch(self) -> None:
        while not self._closing.wait(self._poll_secs):
            try:
                self.poll()
            except OSError as error:
                _LOG.warning("%s: %s", self._base_path, error.strerror)

    def _load(self, path: Path, version: int) -> Servable | None:
        self._tell(Status(version, "LOADING"))
        try:
            return Servable(path, version, self._max_batch_size)
        # A damaged export fails in as many ways as there are.
        except Exception as error:
            reason = first_line(error)
            _LOG.warning("version %d does not load: %s", version, reason)
            self._tell(Status(version, "END", "INVALID_ARGUMENT", reason))
            return None

    def _swap(self, servable: Servable | None) -> None:
        with self._lock:
            old, self._current = self._current, servable
            if servable:
                self._users[servable] = 1
            self._changed(servable is not None)
        if servable:
            self._tell(Status(servable.version, "AVAILABLE"))
            _LOG.info("version %d serves", servable.version)
        if old:
            self._tell(Status(old.version, "UNLOADING"))
            self._give_back(old)

    def _give_back(self, servable: Servable) -> None:
        """One user less; the last one closes it."""
        with self._lock:
            self._users[servable] -= 1
            if self._users[servable]:
                return
            del self._users[servable]
            # It may have been taken away and put back meanwhile.
            now = self._current
            if now is None or now.version != servable.version:
                self._statuses[servable.version] = Status(
                    servable.version, "END"
                )
        servable.close()
        _LOG.info("version %d is unloaded", servable.version)

    def _tell(self, status: Status) -> None:
        with self._lock:
            self._statuses[status.version] = status


def is_version(name: str) -> bool:
    """Whether digits are a version's number, which protocols hold in int64."""
    # Python refuses to convert thousands of digits.
    digits = name.isascii() and name.isdigit() and len(name) < 100
    return digits and int(name) < 2**63


def _numbered(folder: Path) -> dict[int, Path]:
    """Folders below one whose names are whole numbers of 64 bits."""
    return {
        int(path.name): path
        for path in folder.iterdir()
        if is_version(path.name) and path.is_dir()
    }


def _files_of(folder: Path) -> list[tuple[str, int, int]]:
    """What tells whether files below a folder have changed."""
    found = []
    for path in sorted(folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            stat = path.stat()
            found.append((str(path), stat.st_size, stat.st_mtime_ns))
    return found
