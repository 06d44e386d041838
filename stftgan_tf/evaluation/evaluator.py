"""Evaluates an export against the data set that it was trained on.

Every metric compares two sets with the training split: real windows of the
evaluation split, whose values show what is possible, and generated windows. If
the data is labelled, a classifier also compares their audio, which is
reconstructed with the same phase step.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.data import dataset, integrity
from stftgan_tf.errors import UserError
from stftgan_tf.evaluation import blessing, examples, measurement
from stftgan_tf.evaluation import remedies as remedy_lib
from stftgan_tf.files import stable_digest
from stftgan_tf.metrics import registry
from stftgan_tf.saved_model import contract, export_files, loading


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Result of evaluating an export.

    Attributes:
      metrics: the metrics of `real` and `generated` windows by name;
        `clusters` and `dimensions`, which the limits depend on; `bins`, the
        share of windows in each cluster; `leaked`, the number of evaluation
        windows that were left out; `remedies`, one for each failed check;
        and the export, data set and settings that were used.
      checks: all checks of the blessing.
      examples: the windows that the report shows.
    """

    metrics: dict[str, Any]
    checks: list[blessing.Check]
    examples: examples.Examples

    @property
    def blessed(self) -> bool:
        """Whether the export may be published."""
        return not self.reasons

    @property
    def reasons(self) -> list[str]:
        """Why the export is not blessed; empty if it is blessed."""
        return blessing.reasons(self.checks)

    @property
    def remedies(self) -> list[str]:
        """What to do about each reason."""
        return list(self.metrics["remedies"])

    def __str__(self) -> str:
        """The table of metrics, and why the export is not blessed."""
        verdict = {"reasons": self.reasons, "remedies": self.remedies}
        notes = []
        if leaked := self.metrics["leaked"]:
            notes = [
                f"left out {leaked} evaluation windows that are also training "
                "windows (python -m pipeline.validate names them)"
            ]
        return "\n".join(
            [table(self.metrics), *notes, *blessing.verdict_lines(verdict)]
        )

    def save(self, directory: Path) -> None:
        """Writes the evaluation; replaces an earlier one.

        Raises:
          UserError: if the directory contains anything else.
        """
        arrays = self.examples.arrays()
        blessing.write(directory, self.metrics, self.checks, arrays)


def evaluate(
    model_dir: str | Path,
    data_dir: str | Path,
    config: Config | None = None,
    overrides: Sequence[str] = (),
    last_blessed: str | Path | None = None,
    run: str | Path | None = None,
) -> Evaluation:
    """Evaluates an export.

    Args:
      model_dir: the export.
      data_dir: the data set that it was trained on.
      config: settings of the evaluation and the blessing; by default those
        inside the export.
      overrides: `section.key=value` texts that change the config inside the
        export; only without `config`.
      last_blessed: evaluation of the last blessed export, or its pushed
        version; this export must not be much worse.
      run: directory of the run, whose history the remedies use.

    Raises:
      UserError: if the export, the data set, the last evaluation or the run
        cannot be read, they do not belong together, or there are too few
        windows.
    """
    last = blessing.read(Path(last_blessed)) if last_blessed else None
    # The evaluation is only valid for the files that were loaded.
    with stable_digest(Path(model_dir)) as digest:
        model = loading.load(Path(model_dir))
        if last_blessed:
            _check_comparable(Path(last_blessed), model.path)
        config = config or _saved_config(model, overrides)
        shards = dataset.open_shards(data_dir, config)
        check_data(model, shards)
        history = remedy_lib.read_history(
            model.metadata, Path(run) if run else None
        )
        return evaluate_loaded(model, digest, shards, config, last, history)


def _check_comparable(last_blessed: Path, model: Path) -> None:
    """Raises UserError if a version generates other audio than an export."""
    if not (last_blessed / export_files.METADATA).is_file():
        # An evaluation, which does not say.
        return
    changes = contract.audio_changes(last_blessed, model)
    if changes:
        raise UserError(
            f"{model} cannot be compared with {last_blessed}, whose audio is "
            f"different: {'; '.join(changes)}; leave out --last_blessed"
        )


def config_of(model_dir: Path, overrides: Sequence[str] = ()) -> Config:
    """The config inside an export.

    Raises:
      UserError: if it is not an export.
    """
    return _saved_config(loading.load(model_dir), overrides)


def evaluate_loaded(
    model: loading.LoadedModel,
    digest: str,
    shards: dataset.Shards,
    config: Config,
    last: dict[str, Any] | None = None,
    history: remedy_lib.History | None = None,
) -> Evaluation:
    """Evaluates a loaded export.

    Args:
      model: the export.
      digest: digest of its files, from `files.directory_digest`.
      shards: the data set.
      config: settings of the evaluation and the blessing.
      last: evaluation of the last blessed export, from `blessing.read`.
      history: of the training, for the remedies; by default what the export
        knows about it.

    Raises:
      UserError: if the training split has fewer windows than clusters, or
        the evaluation split is almost empty.
    """
    with integrity.corrupt_shard_as_error(shards):
        metrics, selection = measurement.measure(model, shards, config)
    checks = blessing.checks(metrics, config.bless, last)
    metrics |= {
        "remedies": remedy_lib.remedies(
            checks,
            metrics,
            config_lib.from_dict(model.metadata["config"]),
            history or remedy_lib.read_history(model.metadata, None),
        ),
        "digest": digest,
        "data_digest": data_digest(shards),
        "evaluate": dataclasses.asdict(config.evaluate),
    }
    if last:
        metrics["last_blessed"] = last["generated"]
        metrics["last_digest"] = last["digest"]
    return Evaluation(metrics, checks, selection)


def table(metrics: dict[str, Any]) -> str:
    """The metrics as lines: name, real, generated, best value."""
    lines = [f"{'metric':28s}{'real':>10s}{'generated':>12s}  best"]

    def add(name: str, real: Any, generated: Any, best: str) -> None:
        cells = ["-" if v is None else f"{v:g}" for v in (real, generated)]
        lines.append(f"{name:28s}{cells[0]:>10s}{cells[1]:>12s}  {best}")

    generated = metrics["generated"]
    for name, value in metrics["real"].items():
        if isinstance(value, dict):
            lines.append(f"{name} (share of samples)")
            for key, share in value.items():
                add(f"  {key}", share, generated[name][key], "real")
        else:
            best = registry.evaluation_metric(name).best
            add(name, value, generated.get(name), best)
    return "\n".join(line.rstrip() for line in lines)


def data_digest(shards: dataset.Shards) -> str:
    """SHA-256 that identifies the windows of a data set."""
    digests = [shard["sha256"] for shard in shards.manifest["shards"]]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def check_data(model: loading.LoadedModel, shards: dataset.Shards) -> None:
    """Checks that a model was trained on a data set.

    Windows and labels are only comparable within that data set.

    Raises:
      UserError: if the data set has different moments or labels.
    """
    metadata, manifest = model.metadata, shards.manifest
    if "moments" not in metadata:
        raise UserError(
            f"the metadata of {model.path} contains no moments; export it again"
        )
    names = metadata["moments"]
    for what, in_data, in_model in (
        ("labels", manifest["labels"], metadata["labels"]),
        (
            "moments",
            {name: manifest["moments"][name] for name in names},
            metadata["moments"],
        ),
    ):
        if in_data != in_model:
            raise UserError(
                f"{shards.root} has different {what} than the data set that "
                f"{model.path} was trained on; use that data set, or one "
                "with the same recordings and config"
            )


def _saved_config(
    model: loading.LoadedModel, overrides: Sequence[str]
) -> Config:
    return config_lib.from_dict(
        model.metadata["config"], overrides, source=str(model.path)
    )
