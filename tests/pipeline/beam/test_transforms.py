import contextlib
import dataclasses
import json

import apache_beam as beam
import pytest
from apache_beam.testing import test_pipeline
from apache_beam.testing.util import assert_that, equal_to

from pipeline.audio.decoder_process import DecoderProcess
from pipeline.beam import segments, shards, transforms
from pipeline.beam.progress import Ticks
from tests.conftest import noise
from tests.pipeline.audio.sounds import write
from tests.pipeline.beam.cutting import recording


def context(config, directory):
    output = directory / "out"
    output.mkdir()
    return shards.JobContext(config, str(output), Ticks(None), {})


@pytest.mark.parametrize(
    ("split", "windows", "count"),
    [
        ("train", 2, 2),
        ("train", 1000, 4),
        ("eval", 1000, 1),
        ("train", 10_000_000, 306),  # 2 KiB each, 64 MiB a shard
    ],
)
def test_number_of_shards(tiny, split, windows, count):
    assert shards.shard_count((split, windows), tiny) == count


def test_planning_gives_segments_and_dead_letters(tiny, tmp_path):
    good, bad = tmp_path / "good.wav", tmp_path / "bad.wav"
    write(good, samples=noise(2000))
    bad.write_text("no sound")
    with test_pipeline.TestPipeline() as pipeline:
        planned, dead = (
            pipeline
            | beam.Create([recording(good), recording(bad)])
            | transforms.PlanSegments(context(tiny, tmp_path))
        )
        names = planned | beam.Map(lambda s: (s.recording.name, s.windows))
        assert_that(names, equal_to([(str(good), 4)]), "segments")
        letter = {
            "path": str(bad),
            "reason": "not audio",
            "exception": "text",
        }
        letters = dead | beam.Map(json.loads)
        assert_that(letters, equal_to([letter]), "dead letters")


def test_a_recording_that_vanishes_after_planning_is_a_dead_letter(
    tiny, tmp_path
):
    good, gone = tmp_path / "good.wav", tmp_path / "gone.wav"
    planned = []
    with contextlib.closing(DecoderProcess(tiny.audio)) as decoder:
        for path in (good, gone):
            write(path, samples=noise(2000))
            (segment,) = segments.plan(recording(path), tiny, decoder.run)
            planned.append(dataclasses.replace(segment, split="train"))
    gone.unlink()
    with test_pipeline.TestPipeline() as pipeline:
        results = (
            pipeline
            | beam.Create(planned)
            | transforms.WriteShards(context(tiny, tmp_path))
        )
        written = (
            results | beam.Map(lambda s: s.records) | beam.CombineGlobally(sum)
        )
        assert_that(written, equal_to([4]), "written")
        paths = results | beam.FlatMap(
            lambda s: [json.loads(text)["path"] for text in s.dead_letters]
        )
        assert_that(paths, equal_to([str(gone)]), "dead")
