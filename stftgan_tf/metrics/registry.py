"""The registry of metrics: name, meaning, best value and source of each.

`stftgan_tf.evaluate` writes the `EVALUATION` metrics to evaluation.json. During
training, the watch measures fewer windows and compares them with training
windows. Its metrics therefore have different names: in metrics.jsonl and
TensorBoard they start with `watch/`. Two quantities never share a name.

    python -m stftgan_tf.metrics.registry      prints the tables as Markdown
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

WATCH_PREFIX = "watch/"

_RICHARDSON = "Richardson & Weiss 2018, section 3"
_NAEEM = "Naeem et al. 2020, section 3"
_KYNKAANNIEMI = "Kynkäänniemi et al. 2019, equation 2"
_DONAHUE = "Donahue et al. 2019, section 6.1"
_HEUSEL = "Heusel et al. 2017, equation 6"


@dataclasses.dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
      name: the key in files, tables and TensorBoard.
      meaning: one plain sentence.
      best: the value of a perfect generator; "real" means the value of real
        windows, and "-" means that no value is best.
      source: paper and section, or empty.
      digits: significant digits to print.
    """

    name: str
    meaning: str
    best: str
    source: str = ""
    digits: int = 4


# Metrics that `evaluate` prints for real and for generated windows.
EVALUATION = (
    Metric("windows", "Number of windows that were compared.", "-"),
    Metric(
        "ndb",
        "Number of clusters of training windows whose share differs by more "
        "than chance.",
        "0",
        _RICHARDSON,
    ),
    Metric(
        "jensen_shannon",
        "Divergence between the two histograms over these clusters, in nats.",
        "0",
        _RICHARDSON,
    ),
    Metric(
        "diversity_ratio",
        "Mean distance between two windows, divided by that of real windows; "
        "near 0 if all windows look alike.",
        "1",
    ),
    Metric(
        "density",
        "How densely windows fill the neighbourhoods of real windows.",
        "real",
        _NAEEM,
    ),
    Metric(
        "coverage",
        "Share of real neighbourhoods that contain at least one window.",
        "1",
        _NAEEM,
    ),
    Metric(
        "precision",
        "Share of windows that are in the neighbourhood of a real window.",
        "real",
        _KYNKAANNIEMI,
    ),
    Metric(
        "recall",
        "Share of real windows that are in the neighbourhood of one of these "
        "windows.",
        "real",
        _KYNKAANNIEMI,
    ),
    Metric(
        "nearest_self",
        "Mean distance to the nearest other window; near 0 if windows are "
        "repeated.",
        "real",
        _DONAHUE,
    ),
    Metric(
        "nearest_train",
        "Mean distance to the nearest training window.",
        "real",
        _DONAHUE,
    ),
    Metric(
        "memorised",
        "Share of windows that are so close to a training window that they "
        "count as copies.",
        "0",
    ),
    Metric(
        "frechet",
        "Distance between the distributions of these and of training windows, "
        "in the log-mel embedding.",
        "real",
        _HEUSEL,
    ),
    Metric(
        "consistency",
        "STFT consistency: whether the magnitudes can belong to a signal.",
        "real",
        "Marafioti et al. 2019, section 3",
    ),
    Metric(
        "label_recognised",
        "Share of samples whose label the classifier recognises.",
        "1",
    ),
    Metric(
        "label_diversity",
        "Mean distance between two samples with the same label, divided by "
        "that of training windows.",
        "1",
    ),
    Metric(
        "inception_score",
        "High if each sample clearly has one label and all labels occur.",
        "number of labels",
        "Salimans et al. 2016, section 4",
    ),
    Metric(
        "modified_inception_score",
        "Like inception_score, but averaged over pairs of samples.",
        "real",
        "Gurumurthy et al. 2017",
    ),
    Metric(
        "fid",
        "Frechet distance in the embedding of the label classifier.",
        "real",
        _HEUSEL,
    ),
    Metric(
        "am_score",
        "Distance from the training labels, plus the uncertainty about the "
        "label of each sample.",
        "0",
        "Zhou et al. 2018, equation 20",
    ),
    Metric(
        "classifier_ndb",
        "Like ndb, but in the embedding of the label classifier.",
        "0",
        _RICHARDSON,
    ),
    Metric(
        "classifier_density",
        "Like density, but in the embedding of the label classifier.",
        "real",
        _NAEEM,
    ),
    Metric(
        "classifier_coverage",
        "Like coverage, but in the embedding of the label classifier.",
        "1",
        _NAEEM,
    ),
)

_EVALUATION_BY_NAME = {metric.name: metric for metric in EVALUATION}

# Metrics that the watch measures during training, without the prefix; also the
# keys of `metadata["watch"]`. The watch uses training windows instead of real
# windows of the evaluation split, so the best values differ.
WATCH = (
    Metric(
        "variety",
        "The smaller of diversity_ratio and nearest_ratio; variety is too low "
        "if it is below watch.min_variety.",
        "1",
        digits=2,
    ),
    Metric(
        "nearest_ratio",
        "Mean distance to the nearest other window, divided by that of real "
        "windows; near 0 if a few windows are repeated.",
        "1",
        digits=2,
    ),
    *(
        dataclasses.replace(_EVALUATION_BY_NAME[name], best=best, digits=digits)
        for name, best, digits in (
            ("diversity_ratio", "1", 2),
            ("ndb", "0", 3),
            ("jensen_shannon", "0", 2),
            ("precision", "1", 2),
            ("recall", "1", 2),
            ("density", "1", 2),
            ("coverage", "1", 2),
            ("nearest_self", "-", 3),
            ("nearest_train", "-", 3),
            ("memorised", "0", 2),
            ("consistency", "-", 2),
            ("frechet", "0", 3),
        )
    ),
    Metric(
        "latent_scale",
        "How much wider than in training the latents are whose windows have "
        "the lowest Frechet distance; the export scales its latents by it.",
        "1",
        digits=2,
    ),
)
_WATCH_BY_NAME = {metric.name: metric for metric in WATCH}

# Names in evaluation.json files of earlier versions.
_RENAMED = {
    "judge_ndb": "classifier_ndb",
    "judge_density": "classifier_density",
    "judge_coverage": "classifier_coverage",
}


def evaluation_metric(name: str) -> Metric:
    """The metric of that name in evaluation.json."""
    return _EVALUATION_BY_NAME.get(name, Metric(name, "", "-"))


def watch_metric(name: str) -> Metric:
    """The watch's metric of that name, with or without `watch/`."""
    name = name.removeprefix(WATCH_PREFIX)
    return _WATCH_BY_NAME.get(name, Metric(name, "", "-"))


def watch_row(values: Mapping[str, float]) -> dict[str, float]:
    """The watch's values under the names of metrics.jsonl and TensorBoard."""
    return {WATCH_PREFIX + name: value for name, value in values.items()}


def from_watch_row(row: Mapping[str, float]) -> dict[str, float]:
    """The watch's values in a row of metrics.jsonl; empty if it has none.

    Rows of earlier versions have the names without `watch/`.
    """
    return {
        metric.name: value
        for metric in WATCH
        for name in (metric.name, WATCH_PREFIX + metric.name)
        if (value := row.get(name)) is not None
    }


def watch_line(values: Mapping[str, float]) -> str:
    """The watch's values as one line of a log."""
    return "  ".join(
        f"{metric.name} {format_value(values[metric.name], metric)}"
        for metric in WATCH
        if metric.name in values
    )


def watch_list(values: Mapping[str, float]) -> str:
    """The watch's values as a Markdown list with their meanings."""
    lines = []
    for name, value in values.items():
        metric = watch_metric(name)
        best = "" if metric.best == "-" else f" (best: {metric.best})"
        lines.append(
            f"- {name}: {format_value(value, metric)}{best}. {metric.meaning}"
        )
    return "\n".join(lines)


def format_value(value: float | None, metric: Metric) -> str:
    """The value as text; a dash for a missing value."""
    return "-" if value is None else f"{value:.{metric.digits}g}"


def current_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of an evaluation.json under the names of this version."""
    return {_RENAMED.get(name, name): v for name, v in values.items()}


def markdown() -> str:
    """All metrics as two Markdown tables, for the documentation."""
    watch = (
        dataclasses.replace(metric, name=WATCH_PREFIX + metric.name)
        for metric in WATCH
    )
    return "\n".join(
        [
            "Measured by `stftgan_tf.evaluate`, in `evaluation.json`. `ndb`, "
            "`jensen_shannon` and `diversity_ratio` compare the windows "
            "themselves, the other distances are in the log-mel embedding:",
            "",
            *_table(EVALUATION),
            "",
            "Measured by the watch during a training, in `metrics.jsonl` and "
            "TensorBoard. It compares `watch.windows` generated windows with "
            "as many training windows, which stand for real windows here, in "
            "the log-mel embedding:",
            "",
            *_table(watch),
        ]
    )


def _table(metrics: Iterable[Metric]) -> list[str]:
    rows = ["| name | meaning | best | source |", "| --- | --- | --- | --- |"]
    rows += [
        f"| `{m.name}` | {m.meaning} | {m.best} | {m.source} |" for m in metrics
    ]
    return rows


if __name__ == "__main__":
    print(markdown())
