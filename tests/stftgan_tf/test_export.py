import re
import subprocess
import sys

import pytest
import soundfile

from stftgan_tf import export as export_lib
from stftgan_tf.saved_model import loading
from tests.conftest import ROOT
from tests.stftgan_tf.training import runs


def test_it_prints_size_speed_and_the_directory(shards, tmp_path, capsys):
    run, output = tmp_path / "run", tmp_path / "export"
    runs.untrained_run(shards, run)
    output.mkdir()
    args = [f"--run={run}", f"--output={output}", "--secs=0.2"]
    assert export_lib.main(args) == 1
    assert "use --overwrite" in capsys.readouterr().err
    assert export_lib.main([*args, "--overwrite"]) == 0
    first, chosen, *speeds, last = capsys.readouterr().out.splitlines()
    assert chosen.startswith("checkpoint step-00000000 (the newest, because ")
    assert first.startswith("step 0, 3,728 parameters, ")
    assert [line.split(":")[0] for line in speeds] == ["batch 1", "batch 32"]
    assert all("x real time on this machine" in line for line in speeds)
    assert last == str(output)
    assert 0.2 <= loading.load(output).max_secs < 0.25
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "run"]


def test_litert_is_one_file(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert export_lib.main(["--model=digits", "--format=litert"]) == 0
    first, chosen, speed, last = capsys.readouterr().out.splitlines()
    assert first.startswith("step 11500, 964,224 parameters, ")
    assert chosen == "checkpoint step-00011500 (as exported before)"
    assert speed.startswith("one sample: ") and "on one core" in speed
    assert last == "exports/digits.tflite"
    assert [x.name for x in (tmp_path / "exports").iterdir()] == [
        "digits.tflite"
    ]
    play_as_the_docs_say()


def play_as_the_docs_say():
    """Runs the program of docs/listening.md where TensorFlow is missing."""
    pytest.importorskip("ai_edge_litert")
    text = (ROOT / "docs" / "listening.md").read_text()
    (program,) = re.findall(r"```python\n(import json, zip.*?)```", text, re.S)
    hidden = "import sys; sys.modules['tensorflow'] = None\n"
    subprocess.run([sys.executable, "-c", hidden + program], check=True)
    audio, rate = soundfile.read("7.wav")
    assert rate == 8000 and len(audio) == 4288 and abs(audio).max() > 0.01


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--format=litert", "--secs=3"], 2, "--format litert does not have"),
        (["--format=litert", "--run=nowhere"], 1, "nowhere is not a run"),
        (["--run=nowhere"], 1, "nowhere is not a run"),
        (["--secs=0"], 2, "secs is 0.0; expected above 0, at most 600"),
        (["--checkpoint=newest"], 2, "expected best, last or the number of a"),
    ],
)
def test_wrong_usage_is_one_line_and_an_exit_code(
    tmp_path, capsys, args, code, message
):
    assert export_lib.main([*args, f"--output={tmp_path / 'x'}"]) == code
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_help_ends_with_an_example(capsys):
    with pytest.raises(SystemExit) as error:
        export_lib.main(["--help"])
    assert error.value.code == 0
    assert capsys.readouterr().out.endswith(f"{export_lib.EXAMPLE}\n")
