import io
import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from stftgan_tf import sample
from stftgan_tf.dsp import features
from tests.conftest import ROOT, run_command


def run(export, output, *more):
    return sample.main([f"--model={export}", f"--output={output}", *more])


@pytest.fixture(scope="module")
def made(export, tmp_path_factory):
    output = tmp_path_factory.mktemp("samples") / "x"
    assert run(export, output, "--num=40", "--seed=5") == 0
    return output


def test_what_is_made(made):
    names = sorted(p.name for p in made.iterdir())
    wavs = [f"seed-{seed:06d}.wav" for seed in range(5, 45)]
    assert names == sorted([*wavs, "grid.png", "samples.json"])


def test_wavs_have_the_right_rate_and_are_audio(made, tiny):
    for path in made.glob("*.wav"):
        samples, rate = soundfile.read(path)
        assert rate == 8000 and len(samples) == tiny.window_samples
        assert 1e-3 < np.abs(samples).max() < 0.99


def test_the_list_tells_of_every_file(made):
    listed = json.loads((made / "samples.json").read_text())
    assert listed["sample_rate_hz"] == 8000 and listed["step"] == 20
    assert len(listed["samples"]) == 40
    for row in listed["samples"]:
        samples, _ = soundfile.read(made / row["file"])
        assert row["peak"] == pytest.approx(np.abs(samples).max(), abs=1e-3)
        assert row["rms"] == pytest.approx(samples.std(), abs=1e-2)


def test_the_picture_has_a_row_for_every_eight(made):
    image = tf.io.decode_png((made / "grid.png").read_bytes())
    assert image.shape[0] == 5 * 170


def test_the_same_seed_remakes_the_file(export, made, tmp_path):
    assert run(export, tmp_path / "y", "--num=2", "--seed=9") == 0
    name = "seed-000010.wav"
    ours = (tmp_path / "y" / name).read_bytes()
    assert ours == (made / name).read_bytes()


def test_flac_holds_what_the_wav_does(export, made, tmp_path):
    assert run(export, tmp_path / "y", "--num=2", "--format=flac") == 0
    assert run(export, tmp_path / "z", "--num=2") == 0
    for seed in (0, 1):
        flac, _ = soundfile.read(tmp_path / "y" / f"seed-{seed:06d}.flac")
        wav, _ = soundfile.read(tmp_path / "z" / f"seed-{seed:06d}.wav")
        np.testing.assert_allclose(flac, wav, atol=2**-14)


def test_from_one_seed_to_another(export, made, tmp_path):
    output = tmp_path / "y"
    assert run(export, output, "--interpolate", "5", "9", "--num=3") == 0
    names = [
        f"seed-000005-to-000009-at-{w}.wav" for w in ("0.000000", "0.500000")
    ]
    assert set(names) < {p.name for p in output.iterdir()}
    first, _ = soundfile.read(output / names[0])
    wanted, _ = soundfile.read(made / "seed-000005.wav")
    np.testing.assert_allclose(first, wanted, atol=1e-3)
    rows = json.loads((output / "samples.json").read_text())["samples"]
    assert [row["weight"] for row in rows] == [0.0, 0.5, 1.0]


def test_psi_is_in_the_name_and_in_the_audio(export, made, tmp_path):
    assert (
        run(export, tmp_path / "y", "--num=1", "--seed=5", "--truncation=0.2")
        == 0
    )
    truncated, _ = soundfile.read(
        tmp_path / "y" / "truncation-0.2-seed-000005.wav"
    )
    whole, _ = soundfile.read(made / "seed-000005.wav")
    assert np.abs(truncated - whole).max() > 1e-3


def test_phase_by_heap_keeps_the_windows(export, made, tmp_path, tiny):
    more = ["--num=3", "--seed=5", "--phase=heap"]
    assert run(export, tmp_path, *more) == 0
    rows = json.loads((tmp_path / "samples.json").read_text())
    assert rows["phase"] == "heap"
    for row in rows["samples"]:
        name = row["file"].removeprefix("heap-")
        audio = [
            soundfile.read(folder / file)[0]
            for folder, file in ((tmp_path, row["file"]), (made, name))
        ]
        # Other samples, the same spectrogram.
        assert not np.array_equal(*audio)
        ours, theirs = (
            np.abs(features.stft(np.float32(a), tiny.stft)) for a in audio
        )
        near = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
        assert near < 0.6, near


def test_seconds_are_as_asked_for(export, tmp_path):
    output = tmp_path / "y"
    assert run(export, output, "--num=2", "--secs=1.25") == 0
    names = sorted(p.name for p in output.iterdir())
    wavs = [f"secs-1.25-seed-{seed:06d}.wav" for seed in (0, 1)]
    assert names == sorted(["samples.json", *wavs])
    samples, rate = soundfile.read(output / wavs[0])
    assert len(samples) == 1.25 * rate and abs(samples[-1]) < 1e-4
    # All of it is sound, not the first window alone.
    assert all(np.abs(part).max() > 1e-3 for part in np.split(samples, 10))


def test_one_wav_of_all_to_the_standard_output(export, made):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "stftgan_tf.sample", f"--model={export}"),
            *("--num=35", "--seed=5", "--stdout"),
        ],
        capture_output=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    samples, rate = soundfile.read(io.BytesIO(done.stdout))
    parts = [
        soundfile.read(made / f"seed-{s:06d}.wav")[0] for s in range(5, 40)
    ]
    assert rate == 8000
    np.testing.assert_array_equal(samples, np.concatenate(parts))


def test_nothing_is_written_before_it_can_be_made(export):
    done = run_command(
        *("stftgan_tf.sample", f"--model={export}", "--label=7", "--stdout")
    )
    assert done.returncode == 1 and done.stdout == ""
    assert "has learnt no labels" in done.stderr


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--num=1", "--interpolate", "1", "2"], 2, "expected at least 2"),
        (["--interpolate", "1", "-2"], 2, "--interpolate is -2; expected 0"),
        (["--truncation=0"], 2, "--truncation is 0.0; expected above 0"),
        (
            ["--truncation=.5", "--interpolate", "1", "2"],
            2,
            "exclude each other",
        ),
        (["--secs=99"], 2, "--secs is 99.0"),
        (["--secs=-1"], 2, "makes up to 5."),
        (["--stdout"], 2, "--stdout writes a WAV and no files"),
        (["--num=0"], 2, "--num is 0; expected at least 1"),
        (["--seed=-1"], 2, "--seed is -1; expected 0 to"),
        (["--model=nowhere"], 1, "nowhere is no export"),
    ],
)
def test_bad_usage_is_one_line_and_an_exit_code(
    export, tmp_path, capsys, more, code, message
):
    assert run(export, tmp_path / "x", *more) == code
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_help_shows_an_example():
    done = run_command("stftgan_tf.sample", "--help")
    assert done.returncode == 0 and sample.EXAMPLE in done.stdout
