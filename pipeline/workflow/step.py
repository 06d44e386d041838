"""A step of the pipeline: a command, its output, and the record of it."""

import contextlib
import datetime
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.workflow import process
from stftgan_tf import run_files
from stftgan_tf.errors import UsageError, UserError
from stftgan_tf.evaluation import blessing, lineage
from stftgan_tf.files import write_atomically

# The steps in order, and what each one does.
STEPS = {
    "preprocess": "cut the recordings into windows and write shards",
    "validate": "check that the data set is fit to train on",
    "train": "train the model",
    "export": "export the generator as a SavedModel",
    "evaluate": "compare generated windows with real speech",
    "infra-validate": "load the export in a new process and call it",
    "report": "write the HTML report",
    "push": "publish the export as the next served version",
}

# Lines of a step that are not shown, because the summary repeats them.
_HIDDEN = {"evaluate": blessing.NOT_BLESSED}


class StepError(UserError):
    """A step failed; the message names the step and the reason."""


class StepUsageError(UsageError):
    """A step failed because its flags or its config cannot be used."""


class Step:
    """A command, what its output depends on, and where the output is.

    Attributes:
      name: a key of `STEPS`.
      id: hash of everything the output depends on.
      inputs: steps whose outputs this step reads.
      output: file or directory that the command writes.
      record: JSON file that is written once the command has succeeded.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        inputs: list["Step"],
        settings: Any,
        command: Callable[[Path], list[str]],
    ):
        """Derives the id and the paths.

        Args:
          name: a key of `STEPS`.
          root: directory of all outputs and records.
          inputs: steps whose outputs this step reads.
          settings: everything else the output depends on, JSON serializable.
          command: returns the words after `python -m` for an output path.
        """
        self.name, self.inputs = name, inputs
        self.id = id_of(name, inputs, settings)
        self.output = root / name / self.id
        self.record = root / "records" / f"{name}-{self.id}.json"
        self._command = command

    def command(self) -> list[str]:
        """The words after `python -m`."""
        return self._command(self.output)

    def done(self) -> bool:
        """Whether the step has run on its inputs as they are now."""
        if not self.record.is_file():
            return False
        record = lineage.read(self.record)
        # A missing version was removed on purpose (rolled back or pruned).
        # If its whole directory is missing, the step has to run again.
        if self.name == "push" and not Path(record["output"]).parent.exists():
            return False
        return record["inputs"] == self._input_hashes()

    def check(self) -> None:
        """Checks that the step may run; called before the command.

        Raises:
          StepError: if it may not.
        """

    def notes(self) -> list[str]:
        """What the user should know of this step, even if it is done."""
        return []

    def facts(self) -> dict[str, Any]:
        """More entries of the record; called after the command.

        Raises:
          StepError: if what the command made cannot be recorded truthfully.
        """
        return {}

    def _input_hashes(self) -> dict[str, str]:
        """SHA-256 of each input's record, or "" if the input has none yet."""
        return {
            step.record.name: hashlib.sha256(
                step.record.read_bytes()
            ).hexdigest()
            if step.record.is_file()
            else ""
            for step in self.inputs
        }

    def forget(self) -> None:
        """Makes the step run again; a training is kept under another name."""
        if self.name == "train":
            now = time.strftime("%Y%m%d-%H%M%S")
            with contextlib.suppress(FileNotFoundError):
                self.output.rename(f"{self.output}-before-{now}")
        self.record.unlink(missing_ok=True)

    def run(self) -> None:
        """Runs the command and writes the record.

        Raises:
          StepError: if an input is missing, the step may not run, or the
            command fails.
          StepUsageError: if the command fails with the exit code 2.
          KeyboardInterrupt: if the command was interrupted.
        """
        for step in self.inputs:
            if not step.output.exists():
                raise StepError(
                    f"step {self.name} failed: its input {step.output} is "
                    f"missing; run again with --from={step.name}"
                )
        self.check()
        command, inputs = self.command(), self._input_hashes()
        start = time.time()
        result = process.run(
            command,
            {run_files.RECORD: self.record.stem},
            _HIDDEN.get(self.name),
        )
        if result.code == 130:
            raise KeyboardInterrupt
        if result.code:
            error = StepUsageError if result.code == 2 else StepError
            raise error(f"step {self.name} failed: {result.error}")
        # The last line that push prints is the version that it created.
        pushed = self.name == "push"
        self._write_record(
            {
                "step": self.name,
                "id": self.id,
                "inputs": inputs,
                "output": result.lines[-1] if pushed else str(self.output),
                "command": process.without_secrets(command),
                "code": _code_version(),
                "started": datetime.datetime.fromtimestamp(
                    start, datetime.timezone.utc
                ).isoformat(timespec="seconds"),
                "secs": round(time.time() - start, 1),
                **self.facts(),
            }
        )

    def _write_record(self, record: dict[str, Any]) -> None:
        self.record.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(record, indent=1) + "\n"
        write_atomically(self.record, text.encode())


def id_of(name: str, inputs: list[Step], settings: Any) -> str:
    """The id of a step; it is the same for the same inputs and settings."""
    text = json.dumps([name, [step.id for step in inputs], settings])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _code_version() -> str:
    """Hash of this project's own modules."""
    digest = hashlib.sha256()
    project = Path(__file__).resolve().parents[2]
    for package in ("pipeline", "stftgan_tf"):
        for path in sorted((project / package).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
