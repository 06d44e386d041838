"""Copies of a data set whose manifest and statistics are changed."""

import json
import shutil

import numpy as np


def altered(shards, directory, change):
    """Copies a data set; returns its root and the changed manifest."""
    data = shutil.copytree(shards, directory)
    manifest, stats = (
        json.loads((data / name).read_text())
        for name in ("manifest.json", "stats.json")
    )
    change(manifest, stats)
    (data / "stats.json").write_text(json.dumps(stats))
    return str(data), manifest


def louder(decibels):
    def change(manifest, stats):
        mean = np.array(manifest["moments"]["mean"])
        manifest["moments"]["mean"] = list(mean + decibels * np.log(10) / 20)

    return change


def without_a_bin(manifest, stats):
    for name in ("mean", "std"):
        manifest["moments"][name][0] = 0.0


def longer(factor):
    def change(manifest, stats):
        windows = manifest["windows"]
        manifest["windows"] = {k: v * factor for k, v in windows.items()}

    return change


def labelled(**counts):
    def change(manifest, stats):
        train = stats["labels"]["train"]
        for name, count in counts.items():
            train[name.removeprefix("n")] = count

    return change


def spoken_by(count):
    def change(manifest, stats):
        stats["speakers"]["train"] = dict.fromkeys("abcdefgh"[:count], 5)

    return change
