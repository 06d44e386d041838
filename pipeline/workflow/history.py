"""What ran in a root, and what a pushed version was made from."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stftgan_tf.errors import UserError
from stftgan_tf.evaluation import blessing, lineage


def status(root: Path) -> str:
    """A table of all records below a root, in the order of their start.

    Raises:
      UserError: if there are none.
    """
    records = [lineage.read(p) for p in (root / "records").glob("*.json")]
    if not records:
        raise UserError(
            f"no step has been completed in {root} (no records); run "
            f"python -m pipeline.run --root={root} first"
        )
    records.sort(key=lambda record: record["started"])
    header = f"{'step':15s}{'id':14s}{'started':27s}{'seconds':>8s}  output"
    rows = [
        f"{record['step']:15s}{record['id']:14s}{record['started']:27s}"
        f"{record['secs']:8.1f}  {_output(record)}"
        for record in records
    ]
    return "\n".join([header, *rows])


def version_lineage(version: Path) -> str:
    """The steps behind a pushed version, each with its command.

    Raises:
      UserError: if it is not a pushed version.
    """
    file = version / blessing.PUSHED
    if not file.is_file():
        raise UserError(f"{version} is not a pushed version (no {file.name})")
    pushed = lineage.read(file)
    problem = pushed["unblessed"]
    verdict = f"unblessed: {problem}" if problem else "blessed"
    lines = [f"{version}  pushed {pushed['pushed']}  {verdict}"]
    if change := pushed.get("new_contract"):
        lines.append(
            f"  new contract, compared with version {change['from']}: "
            f"{'; '.join(change['changes'])}"
        )
    records = _records(version, pushed)
    if not records:
        lines.append(
            f"  {pushed['model']}  (not made by pipeline.run, or its records "
            "are gone)"
        )
    for depth, record in records:
        lines += _entry(record, "  " * depth)
    return "\n".join(lines)


def _records(
    version: Path, pushed: dict[str, Any]
) -> list[tuple[int, dict[str, Any]]]:
    """The records behind a version, each with its depth."""
    # An export of a pipeline is located at <root>/export/<id>.
    model = Path(pushed["model"]).resolve()
    export = model.parent.parent / "records" / f"export-{model.name}.json"
    # A version that was pushed by hand has no push record.
    first = _first_push(export.parent, version, export)
    if "lineage" in pushed:
        # The version contains it, so that later trainings cannot change it.
        push = [(1, lineage.read(first))] if first else []
        depth = 1 + len(push)
        return push + [
            (depth + record["depth"], record) for record in pushed["lineage"]
        ]
    # A version of an earlier version of this project.
    if not export.is_file():
        return []
    return list(lineage.walk(first or export, 1))


def _first_push(records: Path, version: Path, export: Path) -> Path | None:
    """The record of the push that created the version.

    Pushing the newest version again leaves it as it is but adds a record.
    """
    pushes = [
        (record["started"], path)
        for path in records.glob("push-*.json")
        if (record := lineage.read(path))
        and Path(record["output"]).resolve() == version.resolve()
        and export.name in record["inputs"]
    ]
    return min(pushes)[1] if pushes else None


def _entry(record: dict[str, Any], indent: str) -> Iterator[str]:
    yield (
        f"{indent}{record['step']} {_output(record)}  "
        f"{record['started']}, {record['secs']} s, code {record['code']}"
    )
    yield f"{indent}  {shlex.join(record['command'])}"


def _output(record: dict[str, Any]) -> str:
    return f"{record['output']}{lineage.training_text(record)}"
