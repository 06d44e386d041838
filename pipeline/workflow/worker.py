"""A training on several machines: the first worker leads, the others help."""

import json
import os
import time
from pathlib import Path

from pipeline.workflow import process
from pipeline.workflow.step import Step
from stftgan_tf.config import Config

# How long the leader may take between its last training step and the record.
_RECORD_SECS = 60


def index(config: Config) -> int:
    """Which worker this is; 0 leads, and is also the only one by default."""
    if config.train.strategy != "multiworker":
        return 0
    try:
        return int(json.loads(os.environ["TF_CONFIG"])["task"]["index"])
    except (KeyError, TypeError, ValueError):
        # The training reports what is wrong with TF_CONFIG.
        return 0


def assist(steps: list[Step], rerun: bool) -> int:
    """Takes part in the training once the leader has validated the data.

    Args:
      steps: of the pipeline.
      rerun: whether the training runs again although it is done. Then this
        worker first waits until the leader has removed the old record.

    Returns:
      An exit code.
    """
    by_name = {step.name: step for step in steps}
    if "train" not in by_name:
        return 0
    validation, training = by_name["validate"], by_name["train"]
    old_record = _read(training.record) if rerun else None
    waiting = False
    while True:
        if old_record is None or _read(training.record) != old_record:
            if training.done():
                print("train: up to date", flush=True)
                return 0
            if validation.done():
                return _train(training)
        if not waiting:
            print(
                f"train: waiting for the first worker ({validation.record})",
                flush=True,
            )
            waiting = True
        time.sleep(0.5)


def _train(training: Step) -> int:
    """Trains beside the leader until it has recorded the training as done.

    Raises StepError where the leader does.

    A leader that is killed at the very end starts again, and needs this
    worker again.
    """
    training.check()
    while not training.done():
        with process.running(training.command()) as child:
            while child.poll() is None:
                if training.done():
                    child.kill()
                time.sleep(0.5)
        if child.returncode and not training.done():
            return child.returncode
        print(f"train: waiting for {training.record}", flush=True)
        end = time.monotonic() + _RECORD_SECS
        while time.monotonic() < end and not training.done():
            time.sleep(0.5)
    return 0


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
