"""Recordings, and their windows without Beam."""

import contextlib

from pipeline.audio.decoder_process import DecoderProcess
from pipeline.beam import segments
from pipeline.sources.recordings import Recording


def recording(path="a.wav", speaker="", dataset="d"):
    """A recording without a label, whose name is its path."""
    return Recording(
        path=str(path),
        name=str(path),
        label=-1,
        speaker=speaker,
        dataset=dataset,
    )


def contents(path, config):
    """The segments of a recording, and the windows of each."""
    with contextlib.closing(DecoderProcess(config.audio)) as decoder:
        parts = segments.plan(recording(path), config, decoder.run)
        requests = [segments.request(part, config) for part in parts]
        results = list(decoder.run_all(requests))
    pairs = zip(parts, results, strict=True)
    return parts, [segments.cut(part, r, config) for part, r in pairs]
