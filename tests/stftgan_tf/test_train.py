import os
import signal
import threading

import pytest

from stftgan_tf import run_files, train
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


@pytest.mark.parametrize("name", ["manifest.json", "take 1.wav", "config.txt"])
def test_a_directory_of_something_else_is_no_run(
    shards, tmp_path, capsys, name
):
    """A data set, recordings, or notes."""
    other = shards if name == "manifest.json" else tmp_path / "mine"
    other.mkdir(exist_ok=True)
    (other / name).touch()
    before = sorted(other.rglob("*"))
    for more in ([], ["--resume"]):
        assert train.main(train_args(shards, other, *more)) == 1
        message = "contains no run to" if more else "is not a run, and not emp"
        assert message in capsys.readouterr().err
    assert sorted(other.rglob("*")) == before


def test_a_run_resumes_with_its_own_config_and_data(
    shards_copy, tmp_path, capsys
):
    run = tmp_path / "runs" / "digits"
    resume = [f"--run={run}", "--resume"]
    assert train.main(resume) == 1
    assert "contains no run to resume" in capsys.readouterr().err
    # Another seed than that of the config.
    args = train_args(shards_copy, run, "--set=train.seed=7", "--steps=2")
    assert train.main(args) == 0
    assert train.main([*resume, "--steps=4"]) == 0
    assert "resumed at step 2" in capsys.readouterr().err
    rows = run_files.sessions(run)
    assert [row["step"] for row in rows] == [0, 2]
    assert {row["data"] for row in rows} == {"../../shards"}
    assert {row["record"] for row in rows} == {None}
    assert train.main([*resume, "--print-config"]) == 0
    assert "  seed: 7\n" in capsys.readouterr().out
    for flags, key in (
        (["--config=tiny"], "train.seed: 7 there, 0 here"),
        (["--set=train.batch_size=4"], "train.batch_size: 8 there, 4 here"),
    ):
        assert train.main([*resume, *flags, "--steps=6"]) == 1
        error = capsys.readouterr().err
        assert key in error and "resume without --config and --set" in error
    # What changes no weight may change, and the data set may be moved.
    moved = shards_copy.rename(tmp_path / "moved")
    more = ["--set=train.steps=6", "--set=bless.max_ndb=1.0"]
    assert train.main([*resume, *more]) == 1
    assert "name its new place by --data" in capsys.readouterr().err
    assert train.main([*resume, *more, f"--data={moved}"]) == 0
    assert run_files.sessions(run)[-1]["data"] == "../../moved"
    assert int(runs.newest(run).name.removeprefix("step-")) == 6


def test_a_run_of_an_earlier_version_needs_its_data_named(
    shards, tmp_path, capsys
):
    run = runs.untrained_run(shards, tmp_path / "run")
    assert train.main([f"--run={run}", "--resume"]) == 1
    assert "name it by --data" in capsys.readouterr().err


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
