"""The training of a pipeline, which a later request may extend.

Trainings that differ in `--steps` and `--minutes` only share one run, and each
has its own record. A record names the one before it, and contains a hash of
the run, so that a training by hand in between is noticed and recorded.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.workflow import run_state
from pipeline.workflow.run_state import RunState
from pipeline.workflow.step import Step, StepError, id_of
from stftgan_tf import run_files
from stftgan_tf.evaluation import lineage

# By how much a training exceeds its limit of time.
_OVERRUN_SHARE, _OVERRUN_SECS = 0.02, 5.0


class Training(Step):
    """The step `train`.

    Attributes:
      steps: generator updates in total.
      minutes: time limit in total, or None.
    """

    def __init__(
        self,
        root: Path,
        shards: Step,
        settings: Any,
        limits: tuple[int, float | None],
        command: Callable[[Path], list[str]],
    ):
        """Derives the id from everything, that of the run without the limits.

        Args:
          root: directory of all outputs and records.
          shards: the step that makes the data set.
          settings: everything but the limits that the weights depend on.
          limits: steps and minutes in total.
          command: returns the words after `python -m` for an output path.
        """
        super().__init__(
            "train", root, [shards], [settings, list(limits)], command
        )
        self.steps, self.minutes = limits
        self.output = root / "train" / id_of("train", [shards], settings)

    def is_current(self) -> bool:
        """Whether the run is as the record of this step describes it."""
        record = self._own_record()
        state = run_state.read(self.output)
        return bool(record and state and state.digest == record["digest"])

    def check(self) -> None:
        """Checks that the run can still be trained to the limits.

        Raises:
          StepError: if it is further.
        """
        state = run_state.read(self.output)
        if state and self._is_beyond(state):
            by_hand = _by_hand_text(self._by_hand(state))
            raise StepError(
                f"step train failed: {self.output} is at {state} already"
                f"{by_hand}, which is more than {self._limits_text()}; use "
                f"{self._flags_for(state)} or more to keep it, or --from=train "
                "to train anew (the run is then kept under another name)"
            )

    def check_current(self, reader: str) -> None:
        """Checks that a step may read the run under the record of this one.

        Args:
          reader: name of the step that reads the run.

        Raises:
          StepError: if the run was trained further, or changed.
        """
        record = self._own_record()
        if record is None or self.is_current():
            return
        state = run_state.read(self.output)
        where = "contains no checkpoint"
        if state:
            by_hand = _by_hand_text(self._by_hand(state))
            where = f"is at {state} now{by_hand}"
        remedy = f"{self._flags_for(state)}, or " if state else ""
        raise StepError(
            f"step {reader} failed: the record of this training, "
            f"{self.record.name}, is of step {record['step']}, but "
            f"{self.output} {where}; run again with {remedy}--from=train to "
            "train anew (the run is then kept under another name)"
        )

    def notes(self) -> list[str]:
        """What a user has to know about the run before this step."""
        state = run_state.read(self.output)
        if state is None:
            return []
        previous = self._previous(state)
        changes, notes = self._by_hand(state), []
        if not self.done():
            if self._is_beyond(state):
                # Its error will say the same.
                return []
            where = ""
            if previous:
                step = previous["run"]["step"]
                where = f" (train-{previous['id']}.json records step {step})"
            notes.append(f"continues {self.output} at {state}{where}")
            if state.step == self.steps and self.minutes is not None:
                notes.append(
                    f"note: it has all of its {self.steps} steps, so more "
                    "minutes change nothing; use more --steps as well"
                )
        if changes:
            kept = "its exports are of the recorded steps"
            recorded = "the lineage will say so"
            notes.append(
                f"note: {self.output} was trained by hand"
                f"{_by_hand_text(changes, '')}; "
                f"{kept if self.done() else recorded}"
            )
        return notes

    def run(self) -> None:
        """Trains, and records what the run was before and is now.

        Raises:
          StepError: if the run is beyond the limits, or the command fails.
          KeyboardInterrupt: if the command was interrupted.
        """
        state = run_state.read(self.output)
        previous = self._previous(state) if state else None
        if previous and _is_changed(state, previous["run"]):
            run_files.add_change(self.output, previous["run"]["step"])
        super().run()

    def facts(self) -> dict[str, Any]:
        """What the record contains beyond that of other steps."""
        state = run_state.read(self.output)
        if state is None:
            return {}
        facts: dict[str, Any] = {"run": state.to_record()}
        if previous := self._previous(state):
            facts["previous"] = previous
        if by_hand := self._by_hand(state):
            facts["by_hand"] = by_hand
        return facts

    def _own_record(self) -> dict[str, Any] | None:
        """What the record says about the run, if there is one."""
        if not self.record.is_file():
            return None
        return lineage.read(self.record).get("run")

    def _previous(self, state: RunState) -> dict[str, Any] | None:
        """The newest record of another training that this run continues."""
        records = [
            record
            for path in self.record.parent.glob("train-*.json")
            if path != self.record
            and (record := lineage.read(path)).get("run")
            and Path(record["output"]).name == self.output.name
            and state.began_as(record["run"])
            and record["run"]["step"] <= state.step
        ]
        return max(records, key=_age, default=None)

    def _newest_record(self, state: RunState) -> dict[str, Any] | None:
        """What the newest record of any training says about this run."""
        records = [self._previous(state)]
        if self.done():
            records.append(lineage.read(self.record))
        runs = [
            record["run"]
            for record in records
            if record and record.get("run") and state.began_as(record["run"])
        ]
        return max(runs, key=lambda run: run["sessions"], default=None)

    def _by_hand(self, state: RunState) -> list[dict[str, Any]]:
        """Trainings of the run outside of this pipeline, since any record."""
        newest = self._newest_record(state)
        if newest and _is_changed(state, newest):
            # By no training: checkpoints were copied or removed.
            return [_change(None, newest["step"], state.step)]
        rows = state.sessions
        ends = [row["step"] for row in rows[1:]] + [state.step]
        first = newest["sessions"] if newest else 0
        return [
            _change(row["started"], row["step"], end)
            for row, end in zip(rows[first:], ends[first:], strict=True)
            if row["record"] is None
            and (row.get("changed") or end > row["step"])
        ]

    def _is_beyond(self, state: RunState) -> bool:
        """Whether a training with these limits would have ended before."""
        if state.step > self.steps:
            return True
        if self.minutes is None or state.secs < _latest_secs(self.minutes):
            return False
        # Ours may also have ended much later, by a slow last step.
        last = state.sessions[-1] if state.sessions else {"record": None}
        return last["record"] != self.record.stem

    def _limits_text(self) -> str:
        texts = [f"--steps={self.steps}"]
        if self.minutes is not None:
            texts.append(f"--minutes={self.minutes:g}")
        return " or ".join(texts)

    def _flags_for(self, state: RunState) -> str:
        """The least limits that the run is within."""
        flags = []
        if state.step > self.steps or self.minutes is None:
            flags.append(f"--steps={state.step}")
        if self.minutes is not None and state.secs >= 60 * self.minutes:
            flags.append(f"--minutes={math.floor(state.secs / 60) + 1}")
        return " ".join(flags) or f"--steps={state.step}"


def _latest_secs(minutes: float) -> float:
    """When a training with this limit has ended at the latest, usually.

    The last steps and the watch may take longer than the limit.
    """
    return 60 * minutes * (1 + _OVERRUN_SHARE) + _OVERRUN_SECS


def _age(record: dict[str, Any]) -> tuple[int, str]:
    return record["run"]["sessions"], record["started"]


def _is_changed(state: RunState, run: dict[str, Any]) -> bool:
    """Whether the checkpoints differ although no training was recorded."""
    same_sessions = len(state.sessions) == run["sessions"]
    return same_sessions and state.digest != run["digest"]


def _change(started: str | None, first: int, last: int) -> dict[str, Any]:
    return {"started": started, "from_step": first, "to_step": last}


def _by_hand_text(changes: list[dict[str, Any]], lead: str = " by hand") -> str:
    """For example ` by hand (from step 100 to 150)`, or nothing."""
    spans = [
        f"from step {change['from_step']} to {change['to_step']}"
        for change in changes
    ]
    return f"{lead} ({', '.join(spans)})" if spans else ""
