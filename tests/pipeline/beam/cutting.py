"""Cuts recordings into windows without Beam."""

import contextlib

from pipeline.audio.decoder_process import DecoderProcess
from pipeline.beam import segments
from pipeline.sources.recordings import Recording


def contents(path, config):
    """The segments of a recording, and the windows of each."""
    recording = Recording(str(path), "a.wav", -1, "", "d")
    with contextlib.closing(DecoderProcess(config.audio)) as decoder:
        parts = segments.plan(recording, config, decoder.run)
        requests = [segments.request(part, config) for part in parts]
        results = list(decoder.run_all(requests))
    pairs = zip(parts, results, strict=True)
    return parts, [segments.cut(part, r, config) for part, r in pairs]
