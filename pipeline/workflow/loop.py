"""Runs the steps in order and prints how far the pipeline is."""

import time
from pathlib import Path

from pipeline.workflow.step import STEPS, Step
from stftgan_tf.evaluation import lineage
from stftgan_tf.progress import clock


def run(steps: list[Step], root: Path) -> None:
    """Runs each step that is not up to date; the first failure ends it.

    A step is done once its record is on disk, so a pipeline that is killed
    continues with the step that it was in.

    Raises:
      StepError: if a step fails.
      KeyboardInterrupt: if a step was interrupted.
    """
    usual_secs = _usual_secs(root)
    for index, step in enumerate(steps):
        title = f"[{index + 1}/{len(steps)}] {step.name}"
        notes = step.notes()
        if step.done():
            print(f"{title}: up to date", flush=True)
            for note in notes:
                print(note, flush=True)
            continue
        secs = [usual_secs.get(later.name, 0.0) for later in steps[index:]]
        print(f"{title}: {STEPS[step.name]}{_estimate(secs)}", flush=True)
        for note in notes:
            print(note, flush=True)
        start = time.monotonic()
        step.run()
        print(f"{title}: done in {clock(time.monotonic() - start)}", flush=True)


def _estimate(secs: list[float]) -> str:
    """How long a step and all after it took before, if known."""
    if not secs[0]:
        return ""
    return f" (took {clock(secs[0])} before; {clock(sum(secs))} to the end)"


def _usual_secs(root: Path) -> dict[str, float]:
    """How long each step took when it last ran in this root."""
    records = [lineage.read(p) for p in (root / "records").glob("*.json")]
    records.sort(key=lambda record: record["started"])
    return {record["step"]: record["secs"] for record in records}


def preview(steps: list[Step], rerun: list[Step]) -> dict[Step, bool]:
    """Whether each step would run; `rerun` are those that are forced."""
    pending: set[Step] = set()
    for step in steps:
        stale = not pending.isdisjoint(step.inputs) or not step.done()
        if step in rerun or stale:
            pending.add(step)
    return {step: step in pending for step in steps}
