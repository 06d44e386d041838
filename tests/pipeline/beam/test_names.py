import dataclasses

import apache_beam as beam
from apache_beam.testing import test_pipeline
from apache_beam.testing.util import assert_that, equal_to

from pipeline.beam import names
from pipeline.beam.progress import Ticks
from pipeline.beam.shards import JobContext
from tests.pipeline.beam.cutting import recording


def read(pipeline, context, recordings):
    parts = names.write(context.root, recordings)
    reading = beam.ParDo(names.ReadRecordings(context))
    return pipeline | beam.Create(parts) | reading


def context_of(config, directory):
    return JobContext(config, str(directory), Ticks(None), {})


def test_workers_read_the_recordings_whatever_their_names_are(tiny, tmp_path):
    excerpt = dataclasses.replace(
        recording("a b.wav", "Zoë"), start_secs=1.5, end_secs=2.0, label=3
    )
    odd = [
        recording(name) for name in ("new\nline\x85\u2028.wav", "\udcff.wav")
    ]
    recordings = [excerpt, *odd, *(recording(f"{i}.wav") for i in range(2500))]
    with test_pipeline.TestPipeline() as pipeline:
        result = read(pipeline, context_of(tiny, tmp_path), recordings)
        assert_that(result, equal_to(recordings))


def test_the_graph_does_not_grow_with_the_number_of_names(tiny, tmp_path):
    sizes = []
    for count in (1_000, 30_000):
        pipeline = test_pipeline.TestPipeline()
        recordings = [recording(f"{i:08d}.wav") for i in range(count)]
        read(pipeline, context_of(tiny, tmp_path), recordings)
        sizes.append(len(pipeline.to_runner_api().SerializeToString()))
    assert sizes[1] < 1.2 * sizes[0]
