import json

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from stftgan_tf import sample
from tests.conftest import run_command


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


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
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
