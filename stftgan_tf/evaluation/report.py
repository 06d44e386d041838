"""The report: one HTML file that shows an evaluation.

It shows real and generated windows as images and audio, each metric with its
value for real windows and its limit, the nearest training windows, the history
of the training, the data set and the lineage. The file contains everything and
makes no network requests.
"""

import base64
import dataclasses
import io
import json
import shlex
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import soundfile

from stftgan_tf import config as config_lib
from stftgan_tf import pictures
from stftgan_tf.config import Config
from stftgan_tf.data import dataset
from stftgan_tf.errors import UserError
from stftgan_tf.evaluation import (
    blessing,
    charts,
    data_summary,
    history,
    lineage,
)
from stftgan_tf.evaluation import examples as example_lib
from stftgan_tf.evaluation.evaluator import data_digest
from stftgan_tf.files import directory_digest
from stftgan_tf.metrics import registry
from stftgan_tf.saved_model import loading

# Keys of evaluation.json that earlier versions did not write.
_REQUIRED = {"bins", "checks", "clusters", "data_digest", "evaluate"}


@dataclasses.dataclass(frozen=True)
class Sources:
    """What a report is made from.

    Attributes:
      name: name of the export, for the title.
      metadata: metadata of the export.
      evaluation: the evaluation, from `blessing.read`.
      examples: the windows to show.
      shards: the data set.
      config: config of the export.
    """

    name: str
    metadata: dict[str, Any]
    evaluation: dict[str, Any]
    examples: example_lib.Examples
    shards: dataset.Shards
    config: Config


def read_sources(
    model_dir: Path, data: str | Path | dataset.Shards, evaluation_dir: Path
) -> Sources:
    """Reads an evaluation, with the export and the data set it belongs to.

    Args:
      model_dir: the export.
      data: the data set, or its directory.
      evaluation_dir: directory of the evaluation.

    Raises:
      UserError: if the evaluation belongs to a different export or data set,
        or was written by an earlier version.
    """
    evaluation = blessing.read(evaluation_dir)
    hint = "run python -m stftgan_tf.evaluate again"
    if evaluation["digest"] != directory_digest(model_dir):
        raise UserError(
            f"the evaluation in {evaluation_dir} belongs to a different "
            f"export than {model_dir}; {hint}"
        )
    if not evaluation.keys() >= _REQUIRED:
        raise UserError(
            f"the evaluation in {evaluation_dir} was written by an earlier "
            f"version; {hint}"
        )
    examples = example_lib.load(evaluation_dir)
    metadata = json.loads((model_dir / loading.METADATA).read_text("utf-8"))
    config = config_lib.from_dict(metadata["config"])
    shards = (
        data
        if isinstance(data, dataset.Shards)
        else dataset.open_shards(data, config)
    )
    if evaluation["data_digest"] != data_digest(shards):
        raise UserError(
            f"the evaluation in {evaluation_dir} used a different data set "
            f"than {shards.root}; {hint}"
        )
    return Sources(
        str(model_dir), metadata, evaluation, examples, shards, config
    )


def html(
    sources: Sources, run: Path | None = None, record: Path | None = None
) -> str:
    """The report as HTML.

    Args:
      sources: see `read_sources`.
      run: run directory, for the history of the training.
      record: lineage record of the evaluation, from `pipeline.run`.
    """
    evaluation, shards = sources.evaluation, sources.shards
    examples = sources.examples
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("stftgan_tf.evaluation", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    cards = {group: _cards(sources, group) for group in examples.windows}
    step = sources.metadata["step"]
    return environment.get_template("report.html").render(
        model=sources.metadata,
        name=sources.name,
        evaluation=evaluation,
        reasons=blessing.reason_lines(evaluation),
        cards=cards,
        pairs=list(
            zip(
                cards["near"],
                cards["training"],
                examples.distances,
                strict=True,
            )
        ),
        metrics=_metrics(evaluation),
        bins=_image(_bins(evaluation["bins"])),
        labels=_labels(evaluation),
        map=_image(charts.points(examples.points)),
        real_distance=evaluation["real"]["nearest_train"],
        curves=[(title, _image(x)) for title, x in history.curves(run, step)]
        if run
        else [],
        previews=[(n, _image(x, "webp")) for n, x in history.previews(run)]
        if run
        else [],
        data=data_summary.facts(shards),
        data_charts=[
            (title, _image(x))
            for title, x in data_summary.data_charts(shards, sources.config)
        ],
        lineage=_lineage(record) if record else [],
    )


def _cards(sources: Sources, group: str) -> list[dict[str, str]]:
    """Image, audio and caption of each window of a group."""
    examples, names = sources.examples, sources.shards.manifest["labels"]
    first_seed = sources.evaluation["evaluate"]["seed"]
    cards = []
    for row, label, window, samples in zip(
        examples.rows[group],
        examples.labels[group],
        examples.windows[group],
        examples.audio[group],
        strict=True,
    ):
        generated = group in ("generated", "near")
        caption = f"seed {first_seed + row}" if generated else group
        if label >= 0:
            caption = f"{caption}, {names[label]}"
        wav = _wav(samples, sources.config.audio.sample_rate_hz)
        cards.append(
            {
                "image": _image(pictures.spectrogram(window), "png"),
                "audio": _uri("audio/wav", wav),
                "caption": caption,
            }
        )
    return cards


def _wav(samples: np.ndarray, rate_hz: int) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, rate_hz, "PCM_16", format="WAV")
    return out.getvalue()


def _metrics(evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table of metrics."""
    last = evaluation.get("last_blessed", {})
    rows = []
    for name, real in evaluation["real"].items():
        if isinstance(real, dict):
            continue
        metric = registry.evaluation_metric(name)
        checks = [c for c in evaluation["checks"] if c["figure"] == name]
        rows.append(
            {
                "metric": metric,
                "real": registry.format_value(real, metric),
                "generated": registry.format_value(
                    evaluation["generated"][name], metric
                ),
                "last": registry.format_value(last.get(name), metric),
                "limits": [
                    f"{c['bound']} {registry.format_value(c['limit'], metric)}"
                    for c in checks
                ],
                "passed": all(c["passed"] for c in checks),
            }
        )
    return rows


def _bins(bins: dict[str, list[Any]]) -> bytes:
    """Chart of the shares of the clusters, the largest first."""
    order = np.argsort(bins["training"])[::-1]
    groups = {
        name: 100 * np.array(bins[name])[order]
        for name in ("training", "generated")
    }
    stars = np.array(bins["differ"])[order]
    return charts.bars([str(i) for i in order], groups, "%", stars)


def _labels(evaluation: dict[str, Any]) -> str:
    """Chart of the predicted labels; empty if the data has no labels."""
    names = list(evaluation["real"].get("labels", {}))
    if not names:
        return ""
    groups = {
        row: [100 * evaluation[row]["labels"][name] for name in names]
        for row in ("real", "generated")
    }
    return _image(charts.bars(names, groups, "%"))


def _lineage(record: Path) -> list[dict[str, Any]]:
    return [
        {
            **step,
            "depth": depth,
            "command": shlex.join(step["command"]),
            "training": lineage.training_text(step),
        }
        for depth, step in lineage.walk(record)
    ]


def _image(data: bytes, kind: str = "svg+xml") -> str:
    return _uri(f"image/{kind}", data)


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
