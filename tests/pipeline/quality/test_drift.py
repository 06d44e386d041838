import json

import pytest

from pipeline.quality import drift
from tests.pipeline.quality.alter import (
    altered,
    labelled,
    longer,
    louder,
    spoken_by,
    without_a_bin,
)


@pytest.fixture(scope="module")
def limits(tiny):
    return tiny.validate


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (louder(5.5), None),
        (louder(6.5), "level: +6.5 dB; expected at most 6 dB"),
        (louder(-6.5), "level: -6.5 dB; expected at most 6 dB"),
        (longer(1.9), None),
        (longer(2.1), "duration: "),
        (longer(1 / 2.1), "duration: "),
        (labelled(n7=20), None),
        (labelled(n7=5000), "labels: the balance differs by "),
        (spoken_by(4), None),
    ],
)
def test_drift_from_a_reference(shards, tmp_path, limits, change, reason):
    reference = json.loads((shards / "manifest.json").read_text())
    data = altered(shards, tmp_path / "data", change)
    lines = drift.find(*data, str(shards), reference, limits)
    assert [line.startswith(reason) for line in lines] == [True] * bool(reason)


def test_a_constant_bin_is_not_drift(shards, tmp_path, limits):
    data = altered(shards, tmp_path / "data", without_a_bin)
    reference = altered(shards, tmp_path / "reference", without_a_bin)
    assert drift.find(*data, *reference, limits) == []
    # Louder speech moves the other bins.
    louder(7.0)(data[1], None)
    data[1]["moments"]["mean"][0] = 0.0
    (line,) = drift.find(*data, *reference, limits)
    assert line.startswith("level: +7.0 dB")
    data[1]["moments"]["mean"][0] = 1.0
    assert drift.find(*data, *reference, limits)[1].startswith("spectrum: ")


@pytest.mark.parametrize(
    ("speakers", "reasons"), [(2, []), (1, ["speakers: 1"])]
)
def test_missing_speakers(shards, tmp_path, limits, speakers, reasons):
    data = altered(shards, tmp_path / "data", spoken_by(speakers))
    reference = altered(shards, tmp_path / "reference", spoken_by(4))
    lines = drift.find(*data, *reference, limits)
    assert [line.partition(",")[0] for line in lines] == reasons


def test_different_windows_cannot_be_compared(shards, tmp_path, limits):
    reference = json.loads((shards / "manifest.json").read_text())

    def other_frames(manifest, stats):
        manifest["config"]["window"]["frames"] = 32

    data = altered(shards, tmp_path / "data", other_frames)
    (line,) = drift.find(*data, str(shards), reference, limits)
    assert line.startswith("config: the section window differs")


def test_a_reference_of_an_earlier_version(shards, tmp_path, limits):
    """Its manifest contains keys that were removed since."""
    manifest = json.loads((shards / "manifest.json").read_text())

    def with_removed_keys(manifest, stats):
        manifest["config"]["stft"]["window"] = "hann"
        manifest["config"]["window"]["phase"] = False

    reference = altered(shards, tmp_path / "reference", with_removed_keys)
    assert drift.find(str(shards), manifest, *reference, limits) == []
