"""What to look at after a pipeline has run, and what to do next."""

import shlex
from pathlib import Path
from typing import Any

from pipeline.workflow.plan import report_page
from pipeline.workflow.step import Step
from stftgan_tf.evaluation import blessing, lineage


def lines(steps: list[Step], base_path: Path) -> list[str]:
    """The verdict, the report and the next commands, as far as they exist."""
    done = {step.name: step for step in steps if step.done()}
    rows = {}
    reasons = []
    if "evaluate" in done:
        verdict = blessing.read(done["evaluate"].output)
        rows["blessed"] = _verdict(verdict)
        if not verdict["blessed"]:
            reasons = [f"  {line}" for line in blessing.verdict_lines(verdict)]
    if "report" in done:
        page = report_page(done["report"].output)
        rows["report"] = f"{page} (open it in a browser)"
    if "push" in done:
        rows["version"] = lineage.read(done["push"].record)["output"]
    if "export" in done:
        rows["listen"] = _sample(done["export"].output, base_path.name)
    if "push" in done:
        rows["serve"] = _serve(base_path)
    text = [f"{name + ':':9s}{value}" for name, value in rows.items()]
    return ["", text[0], *reasons, *text[1:]] if text else []


def _verdict(verdict: dict[str, Any]) -> str:
    checks, reasons = verdict["checks"], verdict["reasons"]
    if verdict["blessed"]:
        return f"yes, all {len(checks)} checks passed"
    return (
        f"no, {len(reasons)} of {len(checks)} checks failed "
        "(see also docs/troubleshooting.md)"
    )


def _sample(export: Path, name: str) -> str:
    command = ["python", "-m", "stftgan_tf.sample", "--model", str(export)]
    return shlex.join([*command, "--output", f"samples/{name}"])


def _serve(base_path: Path) -> str:
    command = ["python", "-m", "stftgan_tf.serve", "--model"]
    return shlex.join([*command, str(base_path)])
