"""Facts and charts of the data set, for the report."""

import json
import os

import tensorflow as tf

from stftgan_tf.config import Config
from stftgan_tf.data import dataset
from stftgan_tf.dsp import stft
from stftgan_tf.errors import UserError
from stftgan_tf.evaluation import charts

# Data sets with more labels or speakers than this get no chart of them.
_MAX_BARS = 40


def facts(shards: dataset.Shards) -> list[tuple[str, str]]:
    """(name, value) of the facts about the data set."""
    manifest = shards.manifest
    windows, hours = manifest["windows"], manifest["hours"]
    audio, stft_config = (
        manifest["config"][name] for name in ("audio", "stft")
    )
    frames = f"{stft_config['frame_length']} / {stft_config['frame_step']}"
    return [
        ("data set", shards.home),
        ("recordings", f"{manifest['recordings']}"),
        ("unusable recordings", f"{manifest['dead_letters']}"),
        ("silent windows dropped", f"{manifest['silent_windows']}"),
        ("training windows", f"{windows['train']} ({hours['train']:.2f} h)"),
        ("evaluation windows", f"{windows['eval']} ({hours['eval']:.2f} h)"),
        ("labels", f"{len(manifest['labels'])}"),
        ("sample rate", f"{audio['sample_rate_hz']} Hz"),
        ("STFT frame / step", f"{frames} samples"),
        (
            "values clipped at 3 standard deviations",
            f"{100 * manifest['clipped_share']:.2f} %",
        ),
    ]


def data_charts(
    shards: dataset.Shards, config: Config
) -> list[tuple[str, bytes]]:
    """(title, SVG) of the data set's levels, labels and speakers.

    Raises:
      UserError: if stats.json cannot be read.
    """
    stats = json.loads(_text(os.path.join(shards.home, "stats.json")))
    levels = charts.levels(stft.bin_hz(config), shards.manifest["moments"])
    result = [("Level of each frequency bin", levels)]
    for name in ("labels", "speakers"):
        train_counts, eval_counts = (
            stats[name].get(split, {}) for split in ("train", "eval")
        )
        names = sorted({*train_counts, *eval_counts})
        if not 1 < len(names) <= _MAX_BARS:
            continue
        groups = {
            "training": [train_counts.get(key, 0) for key in names],
            "real": [eval_counts.get(key, 0) for key in names],
        }
        chart = charts.bars(names, groups, "windows")
        result.append(
            (f"{name.capitalize()} (real: the evaluation split)", chart)
        )
    return result


def _text(path: str) -> str:
    """Reads a text file, which may be remote."""
    try:
        with tf.io.gfile.GFile(path) as file:
            return str(file.read())
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
