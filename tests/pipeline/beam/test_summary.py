import json
import pickle
import random

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing import test_pipeline

from pipeline.beam import shards, summary
from pipeline.beam.progress import Ticks
from pipeline.beam.statistics import PartialMoments

# More than are merged at once.
COUNT = 1100


def result(split, index, config):
    """The shard `index`, whose one window has this value everywhere."""
    moments = PartialMoments.empty(config.stft.bins)
    if split == "train":
        frames = np.full((1, config.stft.bins), index / COUNT, np.float32)
        moments.add(frames, config)
    return shards.ShardResult(
        split=split,
        index=index,
        path=f"{split}-{index}",
        records=1,
        bytes=10,
        sha256="00",
        silent=2,
        frames=3,
        gains={0.1 * (index % 2): 1},
        labels={index % 3: 1},
        speakers={"zoe": 1},
        dead_letters=[json.dumps({"path": str(index // 2), "reason": "x"})],
        moments=moments,
    )


def write(results, config, directory):
    """The text that the job returns."""
    context = shards.JobContext(config, str(directory), Ticks(None), {})
    with test_pipeline.TestPipeline() as pipeline:
        inputs = (
            pipeline | "Results" >> beam.Create(results),
            pipeline | "Findings" >> beam.Create([]),
        )
        _ = inputs | summary.WriteSummary(context)
    return (directory / summary.SUMMARY).read_text()


def test_results_of_many_shards_are_merged_in_their_order(tiny, tmp_path):
    results = [result("train", index, tiny) for index in range(COUNT)]
    results += [result("eval", index, tiny) for index in range(3)]
    random.Random(0).shuffle(results)
    values = json.loads(write(results, tiny, tmp_path))
    paths = [shard["path"] for shard in values["shards"]]
    train = [f"train-{index}" for index in range(COUNT)]
    assert paths == ["eval-0", "eval-1", "eval-2", *train]
    assert values["shards"][0] == {
        "path": "eval-0",
        "records": 1,
        "bytes": 10,
        "sha256": "00",
    }
    assert values["splits"]["train"] == {
        "windows": COUNT,
        "frames": 3 * COUNT,
        "labels": {"0": 367, "1": 367, "2": 366},
        "speakers": {"zoe": COUNT},
    }
    assert values["splits"]["eval"]["windows"] == 3
    assert values["silent"] == 2 * (COUNT + 3)
    assert values["gains"] == {"0.0": 552, "0.1": 551}
    assert len(values["dead_letters"]) == COUNT // 2
    assert values["moments"]["frames"] == COUNT
    # The mean and the deviation of 0, 1, ... N - 1, divided by N.
    mean, variance = (COUNT - 1) / 2 / COUNT, (COUNT**2 - 1) / 12 / COUNT**2
    assert values["moments"]["mean"] == pytest.approx([mean] * tiny.stft.bins)
    std = values["moments"]["std"]
    assert np.square(std) == pytest.approx([variance] * tiny.stft.bins)


def test_every_order_of_arrival_gives_the_same_bits(tiny):
    results = [result("train", index, tiny) for index in range(20)]
    groups = []
    for seed in range(2):
        random.Random(seed).shuffle(results)
        group = summary.merge((("train", 0), results), tiny.stft.bins)
        groups.append(group)
    first, second = groups
    assert first.shards == second.shards and first.gains == second.gains
    assert first.moments.to_dict() == second.moments.to_dict()


def test_the_result_of_a_shard_is_small(tiny):
    rng = np.random.default_rng(0)
    moments = PartialMoments.empty(tiny.stft.bins)
    frames = rng.normal(-3, 1, (10_000, tiny.stft.bins))
    moments.add(frames.astype(np.float32), tiny)
    data = pickle.dumps(moments)
    assert len(data) < moments.histogram.nbytes / 2
    total = PartialMoments.empty(tiny.stft.bins)
    total.merge(pickle.loads(data))
    total.merge(pickle.loads(data))
    np.testing.assert_array_equal(total.histogram, 2 * moments.histogram)
    np.testing.assert_array_equal(total.mean, moments.mean)
