import json
import shutil

import numpy as np
import pytest
import soundfile

from pipeline import validate
from stftgan_tf import config as config_lib
from tests.conftest import preprocess_tiny

FLAGS = ["--config=tiny"]


def write(recordings, folder, change):
    """Recordings that are changed, name and samples."""
    folder.mkdir()
    for path in sorted(recordings.glob("*.wav")):
        samples, rate = soundfile.read(path, dtype="float32")
        name, samples, rate = change(path.name, samples, rate)
        if name:
            soundfile.write(folder / name, samples, rate)
    return folder


def shuffled(name, samples, rate):
    # By a hash of the take, so that it has nothing to do with the word.
    other = (int(name[0]) * 7 + sum(map(ord, name)) * 3 + len(samples)) % 10
    return f"{other}{name[1:]}", samples, rate


def silent(name, samples, rate):
    gap = np.zeros(int(1.5 * len(samples)), np.float32)
    return name, np.concatenate([samples, gap]), rate


BAD = {
    "wrong rate": (lambda n, s, r: (n, s, r * 2), "spectrum: "),
    "one speaker": (
        lambda n, s, r: (n if "adam" in n else None, s, r),
        "speakers: 1",
    ),
    "half silence": (silent, "silence: "),
    "shuffled labels": (shuffled, "labels: neighbours tell"),
    "missing digits": (
        lambda n, s, r: (n if n[0] < "4" else None, s, r),
        "labels: not those of",
    ),
}


def test_a_good_data_set_is_fit(shards, capsys, tmp_path):
    output = tmp_path / "anomalies.json"
    more = [f"--reference={shards}", f"--output={output}"]
    assert validate.main([str(shards), *FLAGS, *more]) == 0
    assert "is fit to train on" in capsys.readouterr().out
    assert json.loads(output.read_text())["anomalies"] == []


GOOD = {
    "no speakers": ["--set=audio.name_regex=(?P<label>[0-9])_"],
    "nothing told by names": ["--set=audio.name_regex="],
    "one label": ["--set=audio.label_regex='7'"],
    "two labels": ["--set=audio.label_regex='[37]'"],
}


@pytest.mark.parametrize("kind", GOOD)
def test_what_is_unknown_is_no_fault(recordings, tmp_path, capsys, kind):
    data, few = tmp_path / "data", ["--set=evaluate.clusters=4"]
    assert preprocess_tiny(recordings, data, *GOOD[kind]) == 0
    capsys.readouterr()
    found = validate.main([str(data), *FLAGS, *GOOD[kind], *few])
    assert found == 0, capsys.readouterr().out


def test_what_cannot_be_evaluated_is_a_fault(recordings, tmp_path, capsys):
    data = tmp_path / "data"
    flags = ["--set=split.eval_fraction=0", "--set=split.by=recording"]
    assert preprocess_tiny(recordings, data, *flags) == 0
    more = ["--set=evaluate.clusters=1000"]
    assert validate.main([str(data), *FLAGS, *more]) == 1
    told = capsys.readouterr().out
    assert "in Split-train; expected at least 1000" in told
    assert "anomaly: windows: 0 in Split-eval; expected at least 8" in told


@pytest.mark.parametrize("kind", BAD)
def test_a_planted_fault_is_caught(recordings, shards, tmp_path, capsys, kind):
    change, reason = BAD[kind]
    source = write(recordings, tmp_path / "source", change)
    data = tmp_path / "data"
    assert preprocess_tiny(source, data) == 0
    capsys.readouterr()
    more = [f"--reference={shards}"]
    assert validate.main([str(data), *FLAGS, *more]) == 1
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert any(f"anomaly: {reason}" in line for line in lines), lines
    assert "anomalies; mend the recordings" in told.err


def altered(shards, folder, change):
    """A copy whose manifest and statistics say something else."""
    data = shutil.copytree(shards, folder)
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


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (louder(5.5), None),
        (louder(6.5), "level: +6.5 dB from"),
        (louder(-6.5), "level: -6.5 dB from"),
        (longer(1.9), None),
        (longer(2.1), "duration: "),
        (longer(1 / 2.1), "duration: "),
        (labelled(n7=20), None),
        (labelled(n7=5000), "labels: balance is "),
        (spoken_by(4), None),
    ],
)
def test_drift_from_a_reference(shards, tmp_path, change, reason):
    manifest = json.loads((shards / "manifest.json").read_text())
    ours = altered(shards, tmp_path / "ours", change)
    limits = config_lib.load("tiny").validate
    found = validate.drift(*ours, str(shards), manifest, limits)
    assert [line.startswith(reason) for line in found] == [True] * bool(reason)


def test_a_bin_that_never_changes_is_no_drift(shards, tmp_path):
    ours = altered(shards, tmp_path / "ours", without_a_bin)
    theirs = altered(shards, tmp_path / "theirs", without_a_bin)
    limits = config_lib.load("tiny").validate
    assert validate.drift(*ours, *theirs, limits) == []
    # Louder speech moves the other bins.
    louder(7.0)(ours[1], None)
    ours[1]["moments"]["mean"][0] = 0.0
    (line,) = validate.drift(*ours, *theirs, limits)
    assert line.startswith("level: +7.0 dB")
    ours[1]["moments"]["mean"][0] = 1.0
    assert validate.drift(*ours, *theirs, limits)[1].startswith("spectrum: ")


@pytest.mark.parametrize(("speakers", "told"), [(2, []), (1, ["speakers: 1"])])
def test_speakers_that_are_gone(shards, tmp_path, speakers, told):
    ours = altered(shards, tmp_path / "ours", spoken_by(speakers))
    theirs = altered(shards, tmp_path / "theirs", spoken_by(4))
    limits = config_lib.load("tiny").validate
    found = validate.drift(*ours, *theirs, limits)
    assert [line.partition(",")[0] for line in found] == told


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m, s: m.update(clipped_share=0.04), None),
        (lambda m, s: m.update(clipped_share=0.06), "level: 6.0 % of the"),
        (labelled(**{"n-1": 2}), None),
        (labelled(**{"n-1": 500}), "labels: "),
        (labelled(n3=0), "labels: no training window of 3"),
    ],
)
def test_a_figure_beyond_its_limit_is_an_anomaly(
    shards, tmp_path, change, reason
):
    ours = altered(shards, tmp_path / "ours", change)
    found = validate.anomalies(*ours, config_lib.load("tiny"))
    assert [line.startswith(reason) for line in found] == [True] * bool(reason)


def test_damage_is_an_anomaly(shards, tmp_path, capsys):
    data = shutil.copytree(shards, tmp_path / "data")
    shard = next(data.glob("Split-train/*"))
    content = bytearray(shard.read_bytes())
    content[1000] ^= 1
    shard.write_bytes(content)
    assert validate.main([str(data), *FLAGS]) == 1
    assert "anomaly: " in capsys.readouterr().out


def test_what_is_no_data_set_is_refused(tmp_path, capsys):
    assert validate.main([str(tmp_path), *FLAGS]) == 1
    assert "holds no data set" in capsys.readouterr().err
