"""One HTML file that shows an evaluation: what one sees, hears and counts.

Real and generated windows as pictures and audio, every figure next to real
speech's own and to its limit, maps, nearest training windows, the training as
it went, the data and where all of it came from. The file needs no network.
"""

import argparse
import base64
import io
import json
import os
import shlex
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import soundfile
import tensorflow as tf
from PIL import Image
from sklearn.neighbors import NearestNeighbors

from stftgan_tf import cli, evaluate, pictures
from stftgan_tf import config as config_lib
from stftgan_tf.config import Config
from stftgan_tf.data import dataset
from stftgan_tf.dsp import features
from stftgan_tf.errors import UserError
from stftgan_tf.evaluation import blessing, charts, lineage
from stftgan_tf.files import digest_of, write_atomically
from stftgan_tf.metrics import embedding
from stftgan_tf.saved_model import loading as exported

EXAMPLE = (
    "python -m stftgan_tf.report --model exports/digits "
    "--data tfrecords/digits --evaluation verdicts/digits --run runs/digits "
    "--output report.html"
)

# What is shown of each.
_SHOWN = 16
_NEIGHBOURS = 4
_MAPPED = 500
_NAMED = 40
_FRAMES = 24
_FRAME_WIDTH = 900

_SPLITS = ("train", "eval")

_MEANINGS = {
    "windows": "how many were compared",
    "ndb": "clusters of training windows that are filled differently; best 0",
    "jensen_shannon": "distance of the two histograms over clusters; best 0",
    "diversity_ratio": "mean distance of two windows, in real ones'; best 1",
    "density": "how full real neighbourhoods are; real speech's own is best",
    "coverage": "share of real neighbourhoods that hold any; best 1",
    "precision": "share of windows that are like real ones",
    "recall": "share of real windows that are like these",
    "nearest_self": "mean distance to the nearest other window",
    "nearest_train": "mean distance to the nearest training window",
    "memorised": "share that lies as near to a training window as a copy",
    "frechet": "distance of the two distributions, of log-mel windows; best 0",
    "consistency": "how well the magnitudes are those of some audio",
    "label_recognised": "share of labels heard as what they are",
    "label_diversity": "variety within a label, in training windows'; best 1",
    "inception_score": "clear and varied to the judge; best the most labels",
    "modified_inception_score": "the same, with variety within a label",
    "fid": "Frechet distance in the judge's embedding; best 0",
    "am_score": "unlike the training labels; best 0",
    "judge_ndb": "as NDB, in the judge's embedding",
    "judge_density": "as density, in the judge's embedding",
    "judge_coverage": "as coverage, in the judge's embedding",
}


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    return cli.run_command(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    cli.add_model(parser)
    cli.add_data(parser)
    parser.add_argument(
        "--evaluation",
        type=cli.local_path,
        required=True,
        help="what stftgan_tf.evaluate wrote: --blessing's folder",
    )
    parser.add_argument(
        "--run", type=cli.local_path, help="of the training, for its curves"
    )
    parser.add_argument(
        "--record",
        type=cli.local_path,
        help="of the evaluation, as pipeline.run writes them, for the lineage",
    )
    parser.add_argument(
        "--output",
        type=cli.local_path,
        default=Path("report.html"),
        help="the file to write (default: report.html)",
    )
    return parser


def _run(args: argparse.Namespace) -> int:
    verdict = blessing.read(args.evaluation)
    if verdict["digest"] != digest_of(args.model):
        raise UserError(
            f"the evaluation in {args.evaluation} is of another export than "
            f"{args.model}; evaluate it again"
        )
    if not {"bins", "checks", "evaluate"} <= verdict.keys():
        raise UserError(
            f"the evaluation in {args.evaluation} is of an earlier version of "
            "this project; evaluate it again"
        )
    model = exported.load(args.model)
    # The very samples that were judged.
    config = config_lib.from_dict(
        {**model.metadata["config"], "evaluate": verdict["evaluate"]}
    )
    shards = dataset.open_shards(args.data, config)
    evaluate.check_data(model, shards)
    with dataset.corrupt_shard_as_error(shards):
        page = html(model, shards, config, verdict, args.run, args.record)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(args.output, page.encode())
    print(args.output)
    return 0


def html(
    model: exported.Export,
    shards: dataset.Shards,
    config: Config,
    verdict: dict[str, Any],
    run: Path | None = None,
    record: Path | None = None,
) -> str:
    """The page.

    Args:
      model: what was evaluated.
      shards: what it was held against.
      config: of the model.
      verdict: as `blessing.read` gives it.
      run: folder of the training.
      record: of the evaluation, for its lineage.
    """
    settings = config.evaluate
    train = dataset.load_windows(shards, config, "train", evaluate.TRAINING)
    real = dataset.load_windows(shards, config, "eval", settings.samples)
    made = evaluate.generate(model, train[1], settings.samples, settings.seed)
    space = embedding.fit(train[0], shards.moments, config)
    cards = _Cards(shards, config)
    vectors = {
        "training": space(train[0]),
        "real": space(real[0]),
        "generated": space(made["window"]),
    }
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("stftgan_tf.evaluation", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        model=model.metadata,
        name=str(model.path),
        verdict=verdict,
        real=cards.real(*real),
        generated=cards.generated(made, settings.seed),
        figures=_figures(verdict),
        bins=_image(_bins(verdict["bins"])),
        labels=_labels(verdict),
        map=_image(
            charts.points({k: _some(v)[:, :2] for k, v in vectors.items()})
        ),
        neighbours=cards.neighbours(train, made, vectors, settings.seed),
        real_distance=verdict["real"]["nearest_train"],
        curves=_curves(run, model.metadata["step"]) if run else [],
        film=_film(run) if run else [],
        data=_data(shards),
        data_charts=_data_charts(shards, config),
        lineage=_lineage(record) if record else [],
    )


class _Cards:
    """Windows with what they look and sound like."""

    def __init__(self, shards: dataset.Shards, config: Config):
        self._shards, self._config = shards, config
        self._names = shards.manifest["labels"]

    def real(self, windows: np.ndarray, labels: np.ndarray) -> list[Any]:
        """Of the evaluation split, through the same phase step."""
        chosen = np.linspace(0, len(windows) - 1, _SHOWN).astype(int)
        captions = [self._caption("real", labels[i]) for i in chosen]
        return self._cards(windows[chosen], None, captions)

    def generated(self, made: dict[str, Any], seed: int) -> list[Any]:
        """The first ones, none left out."""
        windows, labels = made["window"][:_SHOWN], made["label"]
        if labels is None:
            labels = np.full(len(windows), -1)
        captions = [
            self._caption(f"seed {seed + i}", labels[i])
            for i in range(len(windows))
        ]
        return self._cards(windows, made["audio"][:_SHOWN], captions)

    def neighbours(
        self,
        train: tuple[np.ndarray, np.ndarray],
        made: dict[str, Any],
        vectors: dict[str, np.ndarray],
        seed: int,
    ) -> list[Any]:
        """(generated, nearest training window, distance): nearest, first."""
        search = NearestNeighbors(n_neighbors=1).fit(vectors["training"])
        distances, nearest = search.kneighbors(vectors["generated"])
        distances, nearest = distances[:, 0], nearest[:, 0]
        chosen = np.concatenate(
            [np.argsort(distances)[:_NEIGHBOURS], np.arange(_NEIGHBOURS)]
        )
        ours = self._cards(
            made["window"][chosen],
            made["audio"][chosen],
            [f"seed {seed + i}" for i in chosen],
        )
        theirs = self._cards(
            train[0][nearest[chosen]],
            None,
            [self._caption("training", train[1][nearest[i]]) for i in chosen],
        )
        return list(zip(ours, theirs, distances[chosen], strict=True))

    def _caption(self, what: str, label: int) -> str:
        return f"{what}, {self._names[label]}" if label >= 0 else what

    def _cards(
        self,
        windows: np.ndarray,
        audio: np.ndarray | None,
        captions: list[str],
    ) -> list[dict[str, str]]:
        if audio is None:
            moments = self._shards.moments
            audio = evaluate.to_audio(windows, moments, self._config)
        seen = windows[..., : self._config.stft.bins]
        return [
            {
                "image": _image(pictures.spectrogram(window), "png"),
                "audio": _uri("audio/wav", self._wav(samples)),
                "caption": caption,
            }
            for window, samples, caption in zip(
                seen, audio, captions, strict=True
            )
        ]

    def _wav(self, samples: np.ndarray) -> bytes:
        out = io.BytesIO()
        rate_hz = self._config.audio.sample_rate_hz
        soundfile.write(out, samples, rate_hz, "PCM_16", format="WAV")
        return out.getvalue()


def _figures(verdict: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table of figures."""
    last = verdict.get("last_blessed", {})
    rows = []
    for name, real in verdict["real"].items():
        if isinstance(real, dict):
            continue
        held = [c for c in verdict["checks"] if c["figure"] == name]
        rows.append(
            {
                "name": name,
                "meaning": _MEANINGS.get(name, ""),
                "real": _shown(real),
                "generated": _shown(verdict["generated"][name]),
                "last": _shown(last.get(name)),
                "limits": [f"{c['bound']} {_shown(c['limit'])}" for c in held],
                "passed": all(c["passed"] for c in held),
            }
        )
    return rows


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _bins(bins: dict[str, list[Any]]) -> bytes:
    """Shares of clusters, from the most frequent on."""
    order = np.argsort(bins["training"])[::-1]
    groups = {
        name: 100 * np.array(bins[name])[order]
        for name in ("training", "generated")
    }
    marked = np.array(bins["differ"])[order]
    return charts.bars([str(i) for i in order], groups, "%", marked)


def _labels(verdict: dict[str, Any]) -> str:
    """Labels that the judge hears, as a chart; empty if there are none."""
    names = list(verdict["real"].get("labels", {}))
    if not names:
        return ""
    groups = {
        row: [100 * verdict[row]["labels"][name] for name in names]
        for row in ("real", "generated")
    }
    return _image(charts.bars(names, groups, "%"))


def _curves(run: Path, step: int) -> list[tuple[str, str]]:
    """(title, chart) of a training's metrics."""
    rows = []
    for line in _text(str(run / "metrics.jsonl")).splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            # The last line of a run that was killed.
            continue

    def of(*names: str) -> dict[str, tuple[list[float], list[float]]]:
        found = {}
        for name in names:
            pairs = [(r["step"], r[name]) for r in rows if name in r]
            if pairs:
                found[name] = tuple(map(list, zip(*pairs, strict=True)))
        return found

    wanted = [
        ("Losses", of("critic_loss", "generator_loss")),
        ("Variety of the data's", of("diversity_ratio", "nearest_ratio")),
        ("Clusters that differ", of("ndb")),
        ("Coverage and density", of("coverage", "density")),
        ("Precision and recall", of("precision", "recall")),
        ("Consistency and memorised", of("consistency", "memorised")),
        ("Frechet distance", of("frechet")),
        ("Windows a second", of("windows_per_sec")),
    ]
    return [
        (title, _image(charts.curves(series, step)))
        for title, series in wanted
        if series
    ]


def _film(run: Path) -> list[tuple[int, str]]:
    """(step, picture) of the same latents as the training went on."""
    paths = sorted((run / "samples").glob("step-*.png"))
    if len(paths) > _FRAMES:
        chosen = np.linspace(0, len(paths) - 1, _FRAMES).astype(int)
        paths = [paths[i] for i in chosen]
    frames = []
    for path in paths:
        with Image.open(path) as image:
            image.thumbnail((_FRAME_WIDTH, 10 * _FRAME_WIDTH))
            out = io.BytesIO()
            image.convert("RGB").save(out, format="webp", quality=80)
        step = int(path.stem.partition("-")[2])
        frames.append((step, _image(out.getvalue(), "webp")))
    return frames


def _data(shards: dataset.Shards) -> list[tuple[str, str]]:
    """(what, figure) of the data set."""
    manifest = shards.manifest
    windows, hours = manifest["windows"], manifest["hours"]
    audio, stft = manifest["config"]["audio"], manifest["config"]["stft"]
    return [
        ("data set", shards.home),
        ("recordings", f"{manifest['recordings']}"),
        ("that could not be used", f"{manifest['dead_letters']}"),
        ("silent windows dropped", f"{manifest['silent_windows']}"),
        ("training windows", f"{windows['train']} ({hours['train']:.2f} h)"),
        ("evaluation windows", f"{windows['eval']} ({hours['eval']:.2f} h)"),
        ("labels", f"{len(manifest['labels'])}"),
        ("sample rate", f"{audio['sample_rate_hz']} Hz"),
        ("STFT", f"{stft['frame_length']} / {stft['frame_step']} samples"),
        ("beyond 3 sigma", f"{100 * manifest['clipped_share']:.2f} %"),
    ]


def _data_charts(
    shards: dataset.Shards, config: Config
) -> list[tuple[str, str]]:
    """(title, chart) of the data set's levels, labels and speakers."""
    stats = json.loads(_text(os.path.join(shards.home, "stats.json")))
    hz = features.bin_hz(config)
    moments = shards.manifest["moments"]
    found = [("Level of each bin", _image(charts.levels(hz, moments)))]
    for what in ("labels", "speakers"):
        train, held = (stats[what].get(split, {}) for split in _SPLITS)
        names = sorted({*train, *held})
        if not 1 < len(names) <= _NAMED:
            continue
        groups = {
            "training": [train.get(name, 0) for name in names],
            "real": [held.get(name, 0) for name in names],
        }
        chart = _image(charts.bars(names, groups, "windows"))
        found.append((f"{what.capitalize()} (real: held out)", chart))
    return found


def _lineage(record: Path) -> list[dict[str, Any]]:
    return [
        {**found, "depth": depth, "command": shlex.join(found["command"])}
        for depth, found in lineage.walk(record)
    ]


def _some(vectors: np.ndarray) -> np.ndarray:
    """As many as a map can show, spread evenly."""
    return vectors[:: -(-len(vectors) // _MAPPED)]


def _text(path: str) -> str:
    """A text file, which may be remote.

    Raises:
      UserError: if it cannot be read.
    """
    try:
        with tf.io.gfile.GFile(path) as file:
            return str(file.read())
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def _image(data: bytes, kind: str = "svg+xml") -> str:
    return _uri(f"image/{kind}", data)


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


if __name__ == "__main__":
    cli.leave(main())
