"""`audio.scan` in a process of its own, so that no file can crash a worker.

Decoders are C and meet whatever a folder holds. The scan decodes a whole
recording; what it has survived is later read by the worker itself.
"""

import os
import pickle
import select
import subprocess
import sys
from pathlib import Path

from pipeline import audio, storage
from pipeline.audio import AudioError, Scan
from stftgan_tf.config import AudioConfig

# A decoder that takes longer over one recording has lost its way: that is
# time for some hundred hours.
_PATIENCE_SECS = 600.0


class Scanner:
    """Scans recordings by a child, which is started when it is needed."""

    def __init__(self, config: AudioConfig):
        self._config = config
        self._child: subprocess.Popen | None = None

    def scan(self, path: str) -> list[Scan | None]:
        """What `audio.scan` tells of a recording.

        Raises:
          AudioError: as `audio.scan`; also where the decoder crashed or did
            not come to an end.
        """
        if not storage.is_remote(path):
            return self._ask(path)
        try:
            # The child knows nothing of Beam's file systems.
            with storage.local_copy(path) as copy:
                return self._ask(copy)
        except OSError as error:
            raise AudioError(f"unreadable: {error.strerror}") from error

    def close(self) -> None:
        """Ends the child."""
        if self._child:
            self._child.kill()
            self._child.wait()
            self._child.stdin.close()
            self._child.stdout.close()
            self._child = None

    def _ask(self, path: str) -> list[Scan | None]:
        child = self._child = self._child or _started(self._config)
        try:
            pickle.dump(path, child.stdin)
            child.stdin.flush()
            if not select.select([child.stdout], [], [], _PATIENCE_SECS)[0]:
                self.close()
                raise AudioError(
                    "undecodable: the decoder did not end within "
                    f"{_PATIENCE_SECS:.0f} s"
                )
            answer = pickle.load(child.stdout)
        except (BrokenPipeError, EOFError, pickle.UnpicklingError) as error:
            code = child.wait()
            self.close()
            raise AudioError(
                f"undecodable: the decoder crashed (exit code {code})"
            ) from error
        if isinstance(answer, AudioError):
            raise answer
        return answer


def _started(config: AudioConfig) -> subprocess.Popen:
    root = str(Path(__file__).resolve().parents[1])
    paths = [root, os.environ.get("PYTHONPATH", "")]
    child = subprocess.Popen(
        [sys.executable, "-m", "pipeline.scanner"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )
    pickle.dump(config, child.stdin)
    return child


def _serve() -> None:
    """The child: paths come in, scans or errors go out."""
    questions = sys.stdin.buffer
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Whatever a library prints must not get among the answers.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    config = pickle.load(questions)
    while True:
        try:
            path = pickle.load(questions)
        except EOFError:
            return
        try:
            answer = audio.scan(path, config)
        except AudioError as error:
            answer = error
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    _serve()
