import io
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from stftgan_tf import sample
from tests.conftest import ROOT


def test_it_prints_what_it_has_written(export, loaded, tmp_path, capsys):
    args = [f"--model={export}", f"--output={tmp_path}", "--num=2", "--seed=9"]
    assert sample.main(args) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"2 WAV files, {tmp_path / 'samples.json'}",
        str(tmp_path / "seed-000009.wav"),
        str(tmp_path / "grid.png"),
    ]
    (batch,) = loaded.batches(9, 2, 2)
    for seed, wav in zip((9, 10), batch["wav_bytes"], strict=True):
        assert (tmp_path / f"seed-{seed:06d}.wav").read_bytes() == wav


# Prints which modules `sample` has loaded, on stderr.
SAMPLE = """
import sys
from stftgan_tf import sample
code = sample.main(sys.argv[1:])
print(*sys.modules, file=sys.stderr)
sys.exit(code)
"""


def test_one_wav_of_all_samples_to_stdout_without_training_code(export, loaded):
    args = [f"--model={export}", "--num=35", "--seed=5", "--stdout"]
    process = subprocess.run(
        [sys.executable, "-c", SAMPLE, *args], capture_output=True, cwd=ROOT
    )
    assert process.returncode == 0, process.stderr
    audio, rate = soundfile.read(io.BytesIO(process.stdout))
    assert rate == 8000
    np.testing.assert_allclose(
        audio, loaded.sample(35, seed=5).ravel(), atol=2**-14
    )
    modules = set(process.stderr.decode().splitlines()[-1].split())
    assert "stftgan_tf.saved_model.loading" in modules
    assert not modules & {"stftgan_tf.training", "stftgan_tf.models"}


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--num=0"], 2, "--num is 0; expected 1 to 1000000"),
        (["--num=100000000000"], 2, "--num is 100000000000; expected 1 to"),
        (["--num=1", "--interpolate", "1", "2"], 2, "expected 2 to 1000000"),
        (["--seed=9223372036854775808"], 2, "expected 0 to 92233720368547757"),
        (["--secs=nan"], 2, "--secs is nan; expected above 0"),
        (["--stdout"], 2, "--stdout writes a WAV and no files"),
        (["--model=nowhere"], 1, "nowhere is not an export"),
    ],
)
def test_wrong_usage_is_one_line_and_an_exit_code(
    tmp_path, capsys, more, code, message
):
    output = f"--output={tmp_path / 'x'}"
    assert sample.main(["--model=unused", output, *more]) == code
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
