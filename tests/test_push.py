import concurrent.futures
import json
import shutil

import pytest

from pipeline import push
from stftgan_tf import blessing, cli
from tests.conftest import run_command, save_half_plus

REPORT = {"clusters": 5, "real": {}, "generated": {}}


@pytest.fixture
def model(tmp_path):
    save_half_plus(tmp_path / "model", 2.0)
    return tmp_path / "model"


@pytest.fixture
def blessed(model, tmp_path):
    folder = tmp_path / "blessed"
    blessing.write(folder, REPORT, [], cli.digest_of(model))
    return folder


def names(base):
    return sorted(p.name for p in base.iterdir() if p.name != ".lock")


def test_versions_follow_and_the_last_ones_stay(model, blessed, tmp_path):
    base = tmp_path / "base"
    for version in range(1, 6):
        made = push.push(model, blessed, base, keep=2)
        assert made == base / str(version)
    assert names(base) == ["4", "5"]
    record = json.loads((base / "5" / "pushed.json").read_text())
    assert record["version"] == 5 and record["unblessed"] is False
    assert record["verdict"]["blessed"] is True
    assert record["digest"] == cli.digest_of(model)
    (base / "5" / "pushed.json").unlink()
    assert cli.digest_of(base / "5") == cli.digest_of(model)


def test_what_is_not_blessed_is_not_pushed(model, blessed, tmp_path, capsys):
    base, bad = tmp_path / "base", tmp_path / "bad"
    blessing.write(bad, REPORT, ["it has collapsed"], cli.digest_of(model))
    args = [f"--model={model}", f"--base_path={base}"]
    assert push.main([*args, f"--blessing={bad}"]) == 1
    assert "is not blessed: it has collapsed" in capsys.readouterr().err
    assert push.main(args) == 2
    other = shutil.copytree(model, tmp_path / "other")
    (other / "saved_model.pb").write_bytes(b"another")
    args = [f"--model={other}", f"--base_path={base}"]
    assert push.main([*args, f"--blessing={blessed}"]) == 1
    assert "is of another export" in capsys.readouterr().err
    assert not base.exists()
    assert push.main([*args, f"--blessing={bad}", "--unblessed"]) == 0
    record = json.loads((base / "1" / "pushed.json").read_text())
    assert "is of another export" in record["unblessed"]


@pytest.mark.parametrize("damage", ["none", "cut", "contradiction"])
def test_a_damaged_verdict_blesses_nothing(model, blessed, tmp_path, damage):
    if damage == "none":
        shutil.rmtree(blessed)
    elif damage == "cut":
        (blessed / "evaluation.json").write_text('{"blessed": tr')
    else:
        (blessed / "BLESSED").unlink()
    with pytest.raises(cli.UserError, match=r"no verdict|damaged"):
        push.push(model, blessed, tmp_path / "base")


def test_a_rollback_goes_to_the_one_before(model, blessed, tmp_path, capsys):
    base = tmp_path / "base"
    for _ in range(2):
        push.push(model, blessed, base)
    assert push.main([f"--base_path={base}", "--rollback"]) == 0
    assert capsys.readouterr().out == f"{base / '1'}\n"
    assert names(base) == [".rolled-back-2", "1"]
    assert push.main([f"--base_path={base}", "--rollback"]) == 1
    assert "holds 1 versions" in capsys.readouterr().err
    # A number is never used twice.
    assert push.push(model, blessed, base) == base / "3"


def test_concurrent_pushes_all_succeed(model, blessed, tmp_path):
    base = tmp_path / "base"
    args = [f"--model={model}", f"--blessing={blessed}", "--keep=9"]

    def job(_):
        return run_command("pipeline.push", *args, f"--base_path={base}")

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        done = list(pool.map(job, range(6)))
    assert [d.returncode for d in done] == [0] * 6, done
    assert names(base) == list("123456")
    assert len({d.stdout for d in done}) == 6


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--model=x", "--unblessed"], 1, "x is no export"),
        (["--rollback"], 1, "is no folder"),
        (["--rollback", "--model=x"], 2, "and no model"),
        ([], 2, "expected --model and --blessing"),
    ],
)
def test_bad_usage(tmp_path, flags, code, message, capsys):
    base = tmp_path / "base"
    assert push.main([f"--base_path={base}", *flags]) == code
    assert message in capsys.readouterr().err
    assert not base.exists()
