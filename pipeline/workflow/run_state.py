"""How far the run of a training is, read from its files.

The formats are those of `stftgan_tf.run_files` and of the checkpoints
(`stftgan_tf.training.checkpoints`).
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stftgan_tf import run_files
from stftgan_tf.progress import clock
from stftgan_tf.run_files import CHECKPOINT_NAME, CHECKPOINTS


@dataclasses.dataclass(frozen=True)
class RunState:
    """How far a run is.

    Attributes:
      step: generator updates of the newest checkpoint.
      secs: seconds trained until then.
      digest: hash of all checkpoints; it changes with every weight.
      sessions: the rows of sessions.jsonl.
    """

    step: int
    secs: float
    digest: str
    sessions: list[dict[str, Any]]

    def __str__(self) -> str:
        """For example `step 300 after 14:59`."""
        return f"step {self.step} after {clock(self.secs)}"

    def to_record(self) -> dict[str, Any]:
        """What the record of a training says about its run."""
        return {
            "step": self.step,
            "secs": round(self.secs, 1),
            "digest": self.digest,
            "sessions": len(self.sessions),
            "sessions_digest": _digest_of_rows(self.sessions),
        }

    def began_as(self, record: dict[str, Any]) -> bool:
        """Whether this is the run of a record, perhaps trained further."""
        count = record["sessions"]
        rows = self.sessions[:count]
        return _digest_of_rows(rows) == record["sessions_digest"]


def read(run: Path) -> RunState | None:
    """The state of a run; None if it contains no checkpoint.

    Raises:
      UserError: if its sessions.jsonl is damaged.
    """
    checkpoints = sorted(
        path
        for path in (run / CHECKPOINTS).glob("*")
        if CHECKPOINT_NAME.fullmatch(path.name)
    )
    if not checkpoints:
        return None
    newest = max(checkpoints, key=_age)
    secs = 0.0
    with contextlib.suppress(OSError, ValueError, KeyError):
        secs = float(json.loads((newest / "state.json").read_text())["secs"])
    digest = hashlib.sha256()
    for path in [*checkpoints, run / "manifest.json", run / "condition.npz"]:
        for part in _identity(path):
            digest.update(part)
    return RunState(
        _age(newest)[1], secs, digest.hexdigest(), run_files.sessions(run)
    )


def _age(checkpoint: Path) -> tuple[bool, int]:
    """Sorts those that a training resumes from last, by their step."""
    match = CHECKPOINT_NAME.fullmatch(checkpoint.name)
    return match["kind"] == "step", int(match["step"])


def _identity(path: Path) -> Iterator[bytes]:
    """Bytes that change with the content of a checkpoint or a file."""
    yield path.name.encode()
    # Of a checkpoint the index, which contains a checksum of each tensor.
    for file in (path, path / "state.json", path / "weights.index"):
        # A training that is running may remove it.
        with contextlib.suppress(OSError):
            yield file.read_bytes()
    for data in sorted(path.glob("weights.data-*")):
        with contextlib.suppress(OSError):
            yield f"{data.name} {data.stat().st_size}".encode()


def _digest_of_rows(rows: list[dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
