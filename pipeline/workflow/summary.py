"""What to look at after a pipeline has run, and what to do next."""

import shlex
from pathlib import Path

from pipeline.workflow.plan import report_page
from pipeline.workflow.step import Step
from stftgan_tf.evaluation import blessing, lineage


def lines(steps: list[Step], base_path: Path) -> list[str]:
    """The verdict, the report and the next commands, as far as they exist."""
    done = {step.name: step for step in steps if step.done()}
    text = []
    if "evaluate" in done:
        text += _verdict(done["evaluate"].output)
    if "report" in done:
        text.append(f"report: {report_page(done['report'].output)}")
    if "push" in done:
        text.append(f"version: {lineage.read(done['push'].record)['output']}")
    if "export" in done:
        text += _next_commands(done, base_path)
    return ["", *text] if text else []


def _verdict(evaluation: Path) -> list[str]:
    verdict = blessing.read(evaluation)
    if verdict["blessed"]:
        return ["blessed: yes, every check of the evaluation passed"]
    return [
        f"blessed: no, {len(verdict['reasons'])} of {len(verdict['checks'])} "
        "checks of the evaluation failed:",
        *(f"  {reason}" for reason in verdict["reasons"]),
        "  (what to do: docs/troubleshooting.md)",
    ]


def _next_commands(done: dict[str, Step], base_path: Path) -> list[str]:
    export, name = done["export"].output, base_path.name
    text = ["to listen to samples:", *_sample(export, name)]
    if "push" in done:
        text += ["to serve the model:", *_serve(base_path)]
    return text


def _sample(export: Path, name: str) -> list[str]:
    command = ["python", "-m", "stftgan_tf.sample", "--model", str(export)]
    return [f"  {shlex.join([*command, '--output', f'samples/{name}'])}"]


def _serve(base_path: Path) -> list[str]:
    command = ["python", "-m", "stftgan_tf.serve", "--model_base_path"]
    name = ["--model_name", base_path.name]
    return [f"  {shlex.join([*command, str(base_path), *name])}"]
