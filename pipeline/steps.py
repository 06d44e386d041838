"""A step of the pipeline: a command, its output, and the record of it."""

import contextlib
import ctypes
import datetime
import hashlib
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from doit.exceptions import TaskFailed

from stftgan_tf.evaluation import lineage
from stftgan_tf.files import write_atomically

# Flags whose values nobody else may read.
_SECRET = re.compile(
    "secret|password|token|access_key|credential|connection_string", re.I
)

# Of Linux' sys/prctl.h.
_PR_SET_PDEATHSIG = 1


class Step:
    """A command, what it depends on, and where its output lies.

    Attributes:
      name: of `STEPS`.
      id: of everything the output depends on.
      inputs: steps whose output it takes.
      output: file or folder that the command makes.
      record: file that says that it was made.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        inputs: list["Step"],
        depends: Any,
        command: Callable[[Path], list[str]],
    ):
        """`depends` is anything but inputs that the output depends on."""
        text = json.dumps([name, [i.id for i in inputs], depends])
        self.name, self.inputs = name, inputs
        self.id = hashlib.sha256(text.encode()).hexdigest()[:12]
        self.output = root / name / self.id
        self.record = root / "records" / f"{name}-{self.id}.json"
        self._command = command

    def command(self) -> list[str]:
        """Words after `python -m`."""
        return self._command(self.output)

    def done(self) -> bool:
        """Whether it has been done, on its inputs as they are now."""
        if not self.record.is_file():
            return False
        record = lineage.read(self.record)
        # Versions that are gone were taken away; with all else, by accident.
        if self.name == "push" and not Path(record["output"]).parent.exists():
            return False
        return record["inputs"] == self._input_hashes()

    def _input_hashes(self) -> dict[str, str]:
        """SHA-256 of the records of its inputs; empty of one not done yet."""
        return {
            step.record.name: hashlib.sha256(
                step.record.read_bytes()
            ).hexdigest()
            if step.record.is_file()
            else ""
            for step in self.inputs
        }

    def forget(self) -> None:
        """Has it done again; a training is kept beside."""
        if self.name == "train":
            then = time.strftime("%Y%m%d-%H%M%S")
            with contextlib.suppress(FileNotFoundError):
                self.output.rename(f"{self.output}-before-{then}")
        self.record.unlink(missing_ok=True)

    def do(self) -> bool | TaskFailed:
        """Runs the command, as an action of doit, and records it.

        Raises:
          KeyboardInterrupt: if the command was interrupted.
        """
        for step in self.inputs:
            if not step.output.exists():
                return TaskFailed(
                    f"{step.output} is gone; --from={step.name} makes it anew"
                )
        command, taken = self.command(), self._input_hashes()
        start = time.time()
        with running(command, stdout=subprocess.PIPE, text=True) as job:
            told, _ = job.communicate()
        print(told, end="", flush=True)
        if job.returncode == 130:
            raise KeyboardInterrupt
        if job.returncode:
            told = shlex.join(without_secrets(command))
            return TaskFailed(f"{told}: {job.returncode}")
        printed = told.splitlines()
        now = datetime.datetime.fromtimestamp(start, datetime.timezone.utc)
        record = {
            "step": self.name,
            "id": self.id,
            "inputs": taken,
            # A push says which version it became.
            "output": printed[-1] if self.name == "push" else str(self.output),
            "command": without_secrets(command),
            "code": _code_version(),
            "started": now.isoformat(timespec="seconds"),
            "secs": round(time.time() - start, 1),
        }
        self.record.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(record, indent=1) + "\n"
        write_atomically(self.record, text.encode())
        return True


def without_secrets(command: list[str]) -> list[str]:
    """A command as it may be told, in records and reports."""
    told, hide = [], False
    for word in command:
        flag, equals, _ = word.partition("=")
        secret = flag.startswith("-") and _SECRET.search(flag)
        told.append(
            "..." if hide else f"{flag}=..." if secret and equals else word
        )
        hide = bool(secret and not equals)
    return told


@contextlib.contextmanager
def running(command: list[str], **kwargs: Any) -> Iterator[subprocess.Popen]:
    """`python -m COMMAND`, to which Ctrl-C and SIGTERM are passed on.

    A training saves and ends then; a second signal kills the command. It is in
    a session of its own, as a terminal would tell it of the first one twice.

    Raises:
      KeyboardInterrupt: at the end, if there was a signal.
    """
    heard = []

    def hear(number: int, _: Any) -> None:
        heard.append(number)
        job.send_signal(number if len(heard) == 1 else signal.SIGKILL)

    job = subprocess.Popen(
        [sys.executable, "-m", *command],
        preexec_fn=_die_with_parent,
        start_new_session=True,
        **kwargs,
    )
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, hear) for number in numbers]
    try:
        yield job
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    if heard:
        raise KeyboardInterrupt


def _die_with_parent() -> None:
    """A step must not go on, and hold its lock, when we are killed."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _code_version() -> str:
    """Of this project's own modules."""
    whole = hashlib.sha256()
    folder = Path(__file__).resolve().parents[1]
    for package in ("pipeline", "stftgan_tf"):
        for path in sorted((folder / package).rglob("*.py")):
            whole.update(path.read_bytes())
    return whole.hexdigest()[:12]
