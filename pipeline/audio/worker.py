"""Decodes recordings in a process of its own, so that no file crashes a worker.

Decoders are C and meet whatever a folder holds. While a worker uses one answer,
its child works on the next.
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
from collections.abc import Iterable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from pipeline import storage
from pipeline.audio import reading as audio
from pipeline.audio.reading import AudioError
from stftgan_tf.config import AudioConfig

# A decoder that takes longer over one recording has lost its way: that is
# time for some hundred hours.
_PATIENCE_SECS = 600.0

# Errors that tell of this machine and not of a recording: its disk is full, or
# it has no file handle or memory left.
_OURS = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)

# Room for the samples of half a minute, so that the child need not wait.
_PIPE_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Question:
    """A call of `audio`: its function's name, the path, what comes after."""

    call: str
    path: str
    more: tuple[Any, ...] = ()


class Decoder:
    """Asks a child, which is started when it is needed."""

    # Children that are asked nothing now: whose they are, and for what.
    _idle: ClassVar[list[tuple[int, AudioConfig, "_Child"]]] = []

    def __init__(self, config: AudioConfig):
        self._config = config
        self._child: _Child | None = None

    def answer(self, question: Question) -> Any:
        """What the call returns.

        Raises:
          AudioError: as the call; also where the decoder crashed or did not
            come to an end.
        """
        (answer,) = self.answers([question])
        if isinstance(answer, AudioError):
            raise answer
        return answer

    def answers(self, questions: Iterable[Question]) -> Iterator[Any]:
        """What the calls return, or the AudioErrors that they raise.

        In the order of the questions, of which the next one is always asked
        before an answer is given out.
        """
        asked = collections.deque()
        try:
            for question in questions:
                asked.append(self._ask(question))
                if len(asked) > 1:
                    yield self._take(asked)
            while asked:
                yield self._take(asked)
        finally:
            # Left in the middle: nobody else shall get these answers.
            if asked:
                self._end()
                for left in asked:
                    left.files.close()

    def release(self) -> None:
        """Leaves the child to whoever needs one next."""
        if self._child:
            self._idle.append((os.getpid(), self._config, self._child))
            self._child = None

    def close(self) -> None:
        """Ends the child, and those like it that nobody uses."""
        self._end()
        while child := self._found():
            child.end()

    def _end(self) -> int:
        """Ends the child; its exit code."""
        child, self._child = self._child, None
        return child.end() if child else 0

    def _ask(self, question: Question) -> "_Asked":
        asked = _Asked(question, contextlib.ExitStack())
        if storage.is_remote(question.path):
            # The child knows nothing of Beam's file systems.
            try:
                if question.call == "read":
                    # Of a long recording, which it has survived as a whole.
                    asked.answer = _call(question, self._config)
                    return asked
                copy = storage.local_copy(question.path)
                path = asked.files.enter_context(copy)
                asked.question = dataclasses.replace(question, path=path)
            except AudioError as error:
                asked.answer = error
            except OSError as error:
                if error.errno in _OURS:
                    raise
                asked.answer = AudioError(f"unreadable: {error.strerror}")
        if asked.answer is None:
            self._send(asked.question)
        return asked

    def _send(self, question: Question) -> None:
        self._child = self._child or self._found() or _Child(self._config)
        # If it has gone, that is seen where its answer is waited for.
        with contextlib.suppress(BrokenPipeError):
            self._child.link.send(question)

    def _found(self) -> "_Child | None":
        """A child that is left over, of this process (not its parent's)."""
        for entry in list(self._idle):
            owner, config, child = entry
            if (owner, config) == (os.getpid(), self._config):
                # Another thread may have taken it.
                with contextlib.suppress(ValueError):
                    self._idle.remove(entry)
                    return child
        return None

    def _take(self, asked: collections.deque) -> Any:
        """The first answer that is due."""
        first = asked.popleft()
        with first.files:
            if first.answer is not None:
                return first.answer
            try:
                if self._child.link.poll(_PATIENCE_SECS):
                    return self._child.receive()
                self._end()
                problem = f"did not end within {_PATIENCE_SECS:.0f} s"
            except (EOFError, ConnectionResetError):
                problem = f"crashed (exit code {self._end()})"
        for other in asked:
            if other.answer is None:
                self._send(other.question)
        return AudioError(f"undecodable: the decoder {problem}")


@dataclasses.dataclass
class _Asked:
    """A question, the files it needs, and its answer if that is there."""

    question: Question
    files: contextlib.ExitStack
    answer: Any = None


class _Child:
    """A process that decodes; it ends with the worker that started it."""

    def __init__(self, config: AudioConfig):
        root = str(Path(__file__).resolve().parents[2])
        paths = [root, os.environ.get("PYTHONPATH", "")]
        self.link, link = Pipe()
        reading, writing = os.pipe()
        with contextlib.suppress(OSError):
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._arrays = open(reading, "rb")
        with link, open(writing, "wb"):
            numbers = [link.fileno(), writing]
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "pipeline.audio.worker",
                    *map(str, numbers),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=numbers,
                # Ctrl-C is for the worker, and what ends that ends this.
                start_new_session=True,
                # Nothing there needs the threads that NumPy would start.
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                    "OPENBLAS_NUM_THREADS": "1",
                },
            )
        self.link.send(config)

    def receive(self) -> Any:
        """The next answer.

        Raises:
          EOFError: if the child has gone.
        """
        data, sizes = self.link.recv()
        buffers = [bytearray(size) for size in sizes]
        for buffer in buffers:
            if self._arrays.readinto(buffer) < len(buffer):
                raise EOFError
        return pickle.loads(data, buffers=buffers)

    def end(self) -> int:
        """Ends it, if it has not ended; its exit code."""
        self.process.kill()
        code = self.process.wait()
        self.link.close()
        self._arrays.close()
        return code


def _call(question: Question, config: AudioConfig) -> Any:
    return getattr(audio, question.call)(question.path, config, *question.more)


def _serve(link: Connection, arrays: BinaryIO) -> None:
    """The child: questions come in, answers or errors go out."""
    config = link.recv()
    while True:
        try:
            question = link.recv()
        # The worker has gone.
        except EOFError:
            return
        try:
            answer = _call(question, config)
        except AudioError as error:
            answer = error
        # Arrays go beside the pickle, so that they are not copied.
        apart: list[pickle.PickleBuffer] = []
        data = pickle.dumps(answer, 5, buffer_callback=apart.append)
        views = [array.raw() for array in apart]
        link.send((data, [view.nbytes for view in views]))
        for view in views:
            arrays.write(view)
        arrays.flush()


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])), open(int(sys.argv[2]), "wb"))
