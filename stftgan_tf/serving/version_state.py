"""The states of one version of a model."""

import dataclasses
import time
from pathlib import Path

from stftgan_tf.serving.model import ModelVersion

# A load that takes longer may hang. It goes on, while an older version takes
# its place.
LOAD_PATIENCE_SECS = 60.0


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


class Version:
    """A version that is loading, available or failed.

    Attributes:
      path: the directory.
      files: the files in it when the load started.
      model: the model once it is available.
      failed: whether it failed to load.
      users: requests in progress, plus one until it is unloaded.
      is_reported: whether the log says that the load takes long.
    """

    def __init__(self, path: Path, files: list[tuple[str, int, int]]):
        self.path, self.files = path, files
        self.model: ModelVersion | None = None
        self.failed = self.is_reported = False
        self.users = 1
        self._start = time.monotonic()

    @property
    def is_overdue(self) -> bool:
        """Whether the load takes so long that it may never end."""
        secs = time.monotonic() - self._start
        is_loading = not self.model and not self.failed
        return is_loading and secs > LOAD_PATIENCE_SECS

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to wait for."""
        return bool(self.model) or self.failed or self.is_overdue
