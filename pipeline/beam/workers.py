"""What workers check, so that an error names the worker.

On a cluster a worker can lack a mount or a disk that the others have.
"""

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator

from pipeline import storage
from stftgan_tf.errors import first_line


class WorkerError(RuntimeError):
    """A problem of one worker, which the message names."""


def check_visible(paths: Iterable[str]) -> None:
    """Checks that this worker sees local paths; remote ones are not checked.

    Raises:
      WorkerError: for a path that does not exist on this worker.
    """
    for path in paths:
        if not storage.is_remote(path) and not os.path.exists(path):
            raise WorkerError(
                f"worker {socket.gethostname()} cannot see {path}; mount its "
                "directory there on every worker, or use a bucket"
            )


@contextlib.contextmanager
def errors_name_worker(path: str) -> Iterator[None]:
    """Raises WorkerError for an OSError in the block, which writes `path`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise WorkerError(
            f"worker {socket.gethostname()} cannot write {path}: {reason}"
        ) from error
