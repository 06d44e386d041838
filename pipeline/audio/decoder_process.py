"""Decodes recordings in a separate process, so that no file can crash a worker.

Decoders are C code and must read whatever a directory contains. The decoder
process works on the next request while its parent uses the previous result. It
runs `python -m pipeline.audio.decoder_process`.
"""

import collections
import contextlib
import dataclasses
import errno
import fcntl
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from pipeline import storage
from pipeline.audio import reading
from pipeline.audio.decoders.base import Excerpt
from pipeline.audio.errors import AudioError
from stftgan_tf.config import AudioConfig

# Enough to decode hundreds of hours; a decoder that takes longer is stuck.
_TIMEOUT_SECS = 600.0

# A process that has closed its connection ends within this time.
_EXIT_SECS = 5.0

# Errors of the machine rather than of a recording: no disk space, file handles
# or memory.
_MACHINE_ERRORS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
)

# Fits half a minute of audio, so that the process rarely waits for its parent.
_PIPE_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Request:
    """A function call for the decoder process.

    Attributes:
      function: `probe`, `measure`, `load` or `read` of
        `pipeline.audio.reading`.
      path: the recording, its first argument; the config is the second.
      args: the remaining arguments.
      start_secs: start of the excerpt of the file that is the recording.
      end_secs: its end; None for the end of the file.
    """

    function: Callable[..., Any]
    path: str
    args: tuple[Any, ...] = ()
    start_secs: float = 0.0
    end_secs: float | None = None


class DecoderProcess:
    """Runs requests in a decoder process, which is started on demand."""

    # Idle processes: id of the parent process, config, decoder process.
    _idle: ClassVar[list[tuple[int, AudioConfig, "_Child"]]] = []

    def __init__(
        self, config: AudioConfig, timeout_secs: float = _TIMEOUT_SECS
    ):
        self._config = config
        self._timeout_secs = timeout_secs
        self._child: _Child | None = None

    @property
    def pid(self) -> int | None:
        """Id of the decoder process; None if it is not running."""
        return self._child.process.pid if self._child else None

    def run(self, request: Request) -> Any:
        """Returns the result of a request.

        Raises:
          AudioError: if the function raises it, or if the decoder crashes or
            times out.
        """
        (result,) = self.run_all([request])
        if isinstance(result, AudioError):
            raise result
        return result

    def run_all(self, requests: Iterable[Request]) -> Iterator[Any]:
        """Yields the result of every request, or its AudioError, in order.

        The next request is always sent before a result is yielded.
        """
        pending = collections.deque()
        try:
            for request in requests:
                pending.append(self._submit(request))
                if len(pending) > 1:
                    yield self._receive(pending)
            while pending:
                yield self._receive(pending)
        finally:
            # If the caller stops early, the remaining results must not reach
            # the next caller.
            if pending:
                self._end_child()
                for call in pending:
                    call.files.close()

    def release(self) -> None:
        """Keeps the process for the next `DecoderProcess` with this config."""
        if self._child:
            self._idle.append((os.getpid(), self._config, self._child))
            self._child = None

    def close(self) -> None:
        """Ends the process, and the idle ones with the same config."""
        self._end_child()
        while child := self._take_idle():
            child.end()

    def _end_child(self, patience_secs: float = 0.0) -> int:
        """Ends the process and returns its exit code."""
        child, self._child = self._child, None
        return child.end(patience_secs) if child else 0

    def _submit(self, request: Request) -> "_PendingCall":
        call = _PendingCall(request, contextlib.ExitStack())
        if storage.is_remote(request.path):
            self._fetch(call)
        if call.result is None:
            self._send(call.request)
        return call

    def _fetch(self, call: "_PendingCall") -> None:
        """Gets a remote recording, which the decoder process cannot open.

        Beam's file systems are configured in this process only.
        """
        try:
            if call.request.function is reading.read:
                # Safe here: only long recordings are read, after `probe` has
                # decoded them completely in the decoder process.
                call.result = _run(call.request, self._config)
                return
            copy = storage.local_copy(call.request.path)
            path = call.files.enter_context(copy)
            call.request = dataclasses.replace(call.request, path=path)
        except AudioError as error:
            call.result = error
        except OSError as error:
            if error.errno in _MACHINE_ERRORS:
                raise
            call.result = AudioError(f"unreadable: {error.strerror}")

    def _send(self, request: Request) -> None:
        self._child = self._child or self._take_idle() or _Child(self._config)
        # If the process has died, receiving its result will show that.
        with contextlib.suppress(BrokenPipeError):
            self._child.connection.send(request)

    def _take_idle(self) -> "_Child | None":
        """Takes an idle process that was started by this process."""
        for entry in list(self._idle):
            parent_pid, config, child = entry
            if (parent_pid, config) == (os.getpid(), self._config):
                # ValueError: another thread took it first.
                with contextlib.suppress(ValueError):
                    self._idle.remove(entry)
                    return child
        return None

    def _receive(self, pending: "collections.deque[_PendingCall]") -> Any:
        """Removes the first pending call and returns its result."""
        first = pending.popleft()
        with first.files:
            if first.result is not None:
                return first.result
            try:
                if self._child.connection.poll(self._timeout_secs):
                    return self._child.receive()
                self._end_child()
                problem = f"did not finish within {self._timeout_secs:g} s"
            except (EOFError, ConnectionResetError):
                code = self._end_child(_EXIT_SECS)
                problem = f"crashed (exit code {code})"
        # The requests that the old process lost go to a new one.
        for call in pending:
            if call.result is None:
                self._send(call.request)
        return AudioError(f"undecodable: the decoder {problem}")


@dataclasses.dataclass
class _PendingCall:
    """A request, its temporary files, and its result once it is known."""

    request: Request
    files: contextlib.ExitStack
    result: Any = None


class _Child:
    """A running decoder process, which ends when its parent does."""

    def __init__(self, config: AudioConfig):
        root = str(Path(__file__).resolve().parents[2])
        python_path = [root, os.environ.get("PYTHONPATH", "")]
        self.connection, child_connection = Pipe()
        read_fd, write_fd = os.pipe()
        with contextlib.suppress(OSError):
            fcntl.fcntl(write_fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._arrays = open(read_fd, "rb")
        with child_connection, open(write_fd, "wb"):
            child_fds = [child_connection.fileno(), write_fd]
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "pipeline.audio.decoder_process",
                    *map(str, child_fds),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=child_fds,
                # Ctrl-C must reach only the parent, whose exit ends this one.
                start_new_session=True,
                # Decoding does not need the threads that NumPy would start.
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, python_path)),
                    "OPENBLAS_NUM_THREADS": "1",
                },
            )
        self.connection.send(config)

    def receive(self) -> Any:
        """Returns the next result.

        Raises:
          EOFError: if the process has died.
        """
        data, sizes = self.connection.recv()
        buffers = [bytearray(size) for size in sizes]
        for buffer in buffers:
            if self._arrays.readinto(buffer) < len(buffer):
                raise EOFError
        return pickle.loads(data, buffers=buffers)

    def end(self, patience_secs: float = 0.0) -> int:
        """Kills the process if it does not end; returns its exit code."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience_secs)
        self.process.kill()
        code = self.process.wait()
        self.connection.close()
        self._arrays.close()
        return code


def _run(request: Request, config: AudioConfig) -> Any:
    source: str | Excerpt = request.path
    if request.start_secs or request.end_secs is not None:
        source = Excerpt(request.path, request.start_secs, request.end_secs)
    return request.function(source, config, *request.args)


def _serve(connection: Connection, arrays: BinaryIO) -> None:
    """The loop of the decoder process: requests in, results or errors out."""
    config = connection.recv()
    while True:
        try:
            request = connection.recv()
        # The parent has exited.
        except EOFError:
            return
        try:
            result = _run(request, config)
        except AudioError as error:
            result = error
        # Arrays are sent beside the pickle, which avoids copies.
        buffers: list[pickle.PickleBuffer] = []
        data = pickle.dumps(result, 5, buffer_callback=buffers.append)
        views = [buffer.raw() for buffer in buffers]
        connection.send((data, [view.nbytes for view in views]))
        for view in views:
            arrays.write(view)
        arrays.flush()


def _silence_libraries() -> None:
    """Hides the warnings that C libraries print, but no traceback."""
    sys.stderr = open(os.dup(2), "w", errors="backslashreplace")
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 2)


if __name__ == "__main__":
    _silence_libraries()
    _serve(Connection(int(sys.argv[1])), open(int(sys.argv[2]), "wb"))
