"""The steps `export` and `push`, which check what they publish."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.workflow.step import Step, StepError
from pipeline.workflow.training import Training
from stftgan_tf.errors import counted
from stftgan_tf.evaluation import blessing, lineage
from stftgan_tf.files import directory_digest


class Export(Step):
    """The step `export`, of a run that is as its record describes it."""

    def __init__(
        self, root: Path, run: Training, command: Callable[[Path], list[str]]
    ):
        """Derives the id and the paths.

        Args:
          root: directory of all outputs and records.
          run: the step that trains.
          command: returns the words after `python -m` for an output path.
        """
        super().__init__("export", root, [run], None, command)
        self._run = run

    def done(self) -> bool:
        """Whether the export is as its record describes it."""
        if not super().done():
            return False
        digest = lineage.read(self.record).get("digest")
        if digest is None or not self.output.is_dir():
            return True
        return directory_digest(self.output) == digest

    def check(self) -> None:
        """Raises StepError if the run was trained further, or changed."""
        self._run.check_current(self.name)

    def facts(self) -> dict[str, Any]:
        """The digest of the export, of a run that did not change meanwhile."""
        self.check()
        return {"digest": directory_digest(self.output)}


class Push(Step):
    """The step `push`, of a blessed export unless the user insists."""

    def __init__(
        self,
        root: Path,
        inputs: list[Step],
        settings: list[Any],
        command: Callable[[Path], list[str]],
        unblessed: bool,
    ):
        """Derives the id and the paths.

        Args:
          root: directory of all outputs and records.
          inputs: the steps export, evaluate and infra-validate.
          settings: everything else that the version depends on.
          command: returns the words after `python -m`.
          unblessed: whether the verdict of the evaluation does not matter.
        """
        super().__init__("push", root, inputs, settings, command)
        self._unblessed = unblessed

    def check(self) -> None:
        """Raises StepError if the export is not blessed."""
        export, evaluation, _ = self.inputs
        verdict = blessing.read(evaluation.output)
        if verdict["blessed"] or self._unblessed:
            return
        # The summary lists the reasons, each with its remedy.
        reasons = counted(len(verdict["reasons"]), "reason")
        raise StepError(
            f"step push failed: {export.output} is not blessed, for {reasons} "
            "given above; "
            "--unblessed publishes it anyway"
        )
