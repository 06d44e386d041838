import os
import signal
import threading

import pytest

from stftgan_tf import train
from stftgan_tf.training import metrics_log
from tests.conftest import train_args
from tests.stftgan_tf.training import runs


def test_ctrl_c_saves_a_checkpoint_and_exits_with_130(shards, tmp_path, capsys):
    run = tmp_path / "run"

    def interrupt():
        runs.wait_for(lambda: metrics_log.rows(run))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    args = train_args(shards, run, "--steps=1000000")
    assert train.main([*args, "--set=train.preview_every=100000"]) == 130
    thread.join()
    error = capsys.readouterr().err
    step = int(runs.newest(run).name.removeprefix("step-"))
    assert f"interrupted at step {step}" in error and "Traceback" not in error
    assert (run / "samples" / f"step-{step:08d}.png").exists()
    # Everything is logged once on stderr and once in the run.
    assert error.count("interrupted at step") == 1
    assert (run / "log.txt").read_text().count("interrupted at step") == 1


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--resume"], 1, "contains no run to resume"),
        (["--data=nowhere"], 1, "nowhere is not a data set"),
        (["--steps=0"], 2, "steps is 0; expected above 0"),
        (["--set=trian.steps=1"], 2, "did you mean"),
        (["--set=stft.frame_step=16"], 1, "stft.frame_step: 32 "),
    ],
)
def test_wrong_usage_is_one_line_and_an_exit_code(
    shards, tmp_path, capsys, more, code, message
):
    assert train.main(train_args(shards, tmp_path / "x", *more)) == code
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_run_is_named_after_its_data_by_default(shards, capsys):
    args = ["--config=tiny", f"--data={shards}", "--resume"]
    assert train.main(args) == 1
    assert (
        f"error: runs/{shards.name} contains no run" in capsys.readouterr().err
    )


def test_the_resolved_config_can_be_printed(capsys, tiny):
    args = ["--config=tiny", "--data=nowhere", "--print-config"]
    assert train.main(args) == 0
    assert capsys.readouterr().out == tiny.to_yaml()


def test_the_help_ends_with_an_example(capsys):
    with pytest.raises(SystemExit) as error:
        train.main(["--help"])
    assert error.value.code == 0
    assert capsys.readouterr().out.endswith(f"{train.EXAMPLE}\n")
