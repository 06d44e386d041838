import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from stftgan_tf import sample
from stftgan_tf.dsp import stft
from stftgan_tf.saved_model import loading
from tests.conftest import ROOT


def run(export, output, *more):
    return sample.main([f"--model={export}", f"--output={output}", *more])


@pytest.fixture(scope="module")
def samples(export, tmp_path_factory):
    """The directory of 40 samples from seed 5 on."""
    output = tmp_path_factory.mktemp("samples") / "x"
    assert run(export, output, "--num=40", "--seed=5") == 0
    return output


def test_the_files(samples, tiny):
    names = sorted(p.name for p in samples.iterdir())
    wavs = [f"seed-{seed:06d}.wav" for seed in range(5, 45)]
    assert names == sorted([*wavs, "grid.png", "samples.json"])
    for path in samples.glob("*.wav"):
        audio, rate = soundfile.read(path)
        assert rate == 8000 and len(audio) == tiny.window_samples
        assert 1e-3 < np.abs(audio).max() < 0.99
    # The picture has a row for every eight windows.
    image = tf.io.decode_png((samples / "grid.png").read_bytes())
    assert image.shape[0] == 5 * 170


def test_the_list_describes_every_file(samples):
    contents = json.loads((samples / "samples.json").read_text())
    assert contents["sample_rate_hz"] == 8000 and contents["step"] == 20
    assert len(contents["samples"]) == 40
    for row in contents["samples"]:
        audio, _ = soundfile.read(samples / row["file"])
        assert row["peak"] == pytest.approx(np.abs(audio).max(), abs=1e-3)
        assert row["rms"] == pytest.approx(audio.std(), abs=1e-2)


def test_the_same_seed_gives_the_same_file(export, samples, tmp_path, capsys):
    assert run(export, tmp_path, "--num=2", "--seed=9") == 0
    name = "seed-000010.wav"
    assert (tmp_path / name).read_bytes() == (samples / name).read_bytes()
    first, second, third = capsys.readouterr().out.splitlines()
    assert first == f"2 WAV files, {tmp_path / 'samples.json'}"
    assert second == str(tmp_path / "seed-000009.wav")
    assert third == str(tmp_path / "grid.png")


def test_a_flac_contains_what_the_wav_does(export, samples, tmp_path):
    more = ["--num=2", "--seed=5", "--format=flac"]
    assert run(export, tmp_path, *more) == 0
    for name in ("seed-000005", "seed-000006"):
        flac, _ = soundfile.read(tmp_path / f"{name}.flac")
        wav, _ = soundfile.read(samples / f"{name}.wav")
        np.testing.assert_allclose(flac, wav, atol=2**-14)


def test_from_one_seed_to_another(export, samples, tmp_path):
    assert run(export, tmp_path, "--interpolate", "5", "9", "--num=3") == 0
    names = [
        f"seed-000005-to-000009-at-{w}.wav" for w in ("0.000000", "0.500000")
    ]
    assert set(names) < {p.name for p in tmp_path.iterdir()}
    first, _ = soundfile.read(tmp_path / names[0])
    expected, _ = soundfile.read(samples / "seed-000005.wav")
    np.testing.assert_allclose(first, expected, atol=1e-3)
    rows = json.loads((tmp_path / "samples.json").read_text())["samples"]
    assert [row["weight"] for row in rows] == [0.0, 0.5, 1.0]


def test_truncation_is_in_the_name_and_in_the_audio(export, samples, tmp_path):
    more = ["--num=1", "--seed=5", "--truncation=0.2"]
    assert run(export, tmp_path, *more) == 0
    path = tmp_path / "truncation-0.2-seed-000005.wav"
    truncated, _ = soundfile.read(path)
    whole, _ = soundfile.read(samples / "seed-000005.wav")
    assert np.abs(truncated - whole).max() > 1e-3


def test_a_label_may_be_a_name_or_a_number(labelled, tmp_path):
    model = shutil.copytree(labelled.path, tmp_path / "export")
    metadata = json.loads((model / loading.METADATA).read_text())
    metadata["labels"][7] = "se/ven"
    (model / loading.METADATA).write_text(json.dumps(metadata))
    expected = next(labelled.batches(3, 1, 1, np.array([7])))
    for index, label in enumerate(("se/ven", "7")):
        output = tmp_path / str(index)
        assert (
            run(model, output, "--num=1", "--seed=3", f"--label={label}") == 0
        )
        wav = (output / "label-se_ven-seed-000003.wav").read_bytes()
        assert wav == expected["wav_bytes"][0]


def test_pghi_keeps_the_spectrogram_and_changes_the_phase(
    export, samples, tmp_path, tiny
):
    assert run(export, tmp_path, "--num=3", "--seed=5", "--phase=pghi") == 0
    contents = json.loads((tmp_path / "samples.json").read_text())
    assert contents["phase"] == "pghi"
    for row in contents["samples"]:
        name = row["file"].removeprefix("pghi-")
        audio = [
            soundfile.read(path, dtype="float32")[0]
            for path in (tmp_path / row["file"], samples / name)
        ]
        assert not np.array_equal(*audio)
        new, old = (np.abs(stft.forward(a, tiny.stft)) for a in audio)
        assert np.linalg.norm(new - old) < 0.6 * np.linalg.norm(old)


def test_samples_last_as_many_seconds_as_requested(export, tmp_path):
    assert run(export, tmp_path, "--num=2", "--secs=1.25") == 0
    names = sorted(p.name for p in tmp_path.iterdir())
    wavs = [f"secs-1.25-seed-{seed:06d}.wav" for seed in (0, 1)]
    assert names == sorted(["samples.json", *wavs])
    audio, rate = soundfile.read(tmp_path / wavs[0])
    assert len(audio) == 1.25 * rate and abs(audio[-1]) < 1e-4
    # All of it is sound, not the first window alone.
    assert all(np.abs(part).max() > 1e-3 for part in np.split(audio, 10))


# Prints which modules `sample` has loaded, on stderr.
SAMPLE = """
import sys
from stftgan_tf import sample
code = sample.main(sys.argv[1:])
print(*sys.modules, file=sys.stderr)
sys.exit(code)
"""


def test_one_wav_of_all_samples_to_stdout_without_training_code(
    export, samples
):
    args = [f"--model={export}", "--num=35", "--seed=5", "--stdout"]
    process = subprocess.run(
        [sys.executable, "-c", SAMPLE, *args], capture_output=True, cwd=ROOT
    )
    assert process.returncode == 0, process.stderr
    audio, rate = soundfile.read(io.BytesIO(process.stdout))
    parts = [
        soundfile.read(samples / f"seed-{seed:06d}.wav")[0]
        for seed in range(5, 40)
    ]
    assert rate == 8000
    np.testing.assert_array_equal(audio, np.concatenate(parts))
    modules = set(process.stderr.decode().splitlines()[-1].split())
    assert "stftgan_tf.saved_model.loading" in modules
    assert not modules & {"stftgan_tf.training", "stftgan_tf.models"}


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--secs=99"], 2, "--secs is 99.0"),
        (["--secs=-1"], 2, "generates up to 5."),
        (["--stdout"], 2, "--stdout writes a WAV and no files"),
        (["--num=0"], 2, "--num is 0; expected at least 1"),
        (["--label=7"], 1, "has no labels"),
        (["--model=nowhere"], 1, "nowhere is not an export"),
    ],
)
def test_wrong_usage_is_one_line_and_an_exit_code(
    export, tmp_path, capsys, more, code, message
):
    assert run(export, tmp_path / "x", *more) == code
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_to_stdout_before_an_error(export, capsys):
    args = [f"--model={export}", "--label=7", "--stdout"]
    assert sample.main(args) == 1
    assert capsys.readouterr().out == ""


def test_the_help_ends_with_an_example(capsys):
    with pytest.raises(SystemExit) as error:
        sample.main(["--help"])
    assert error.value.code == 0
    assert capsys.readouterr().out.endswith(f"{sample.EXAMPLE}\n")
