import concurrent.futures
import json
import shutil

import pytest

from pipeline import push
from stftgan_tf.errors import UserError
from stftgan_tf.evaluation import blessing
from stftgan_tf.files import digest_of
from tests.conftest import run_command, save_half_plus

REPORT = {"clusters": 5, "real": {}, "generated": {}}
COLLAPSED = blessing.Check("ndb", 50, "at most", 30, "it has collapsed")


@pytest.fixture
def model(tmp_path):
    save_half_plus(tmp_path / "model", 2.0)
    return tmp_path / "model"


@pytest.fixture
def blessed(model, tmp_path):
    return verdict(tmp_path / "blessed", model)


def verdict(folder, model, *checks):
    report = {**REPORT, "digest": digest_of(model)}
    blessing.write(folder, report, list(checks))
    return folder


def another(model, number):
    """An export that differs, and its verdict."""
    other = model.with_name(f"model-{number}")
    shutil.copytree(model, other)
    (other / "model_card.md").write_text(f"number {number}")
    return other, verdict(model.with_name(f"blessed-{number}"), other)


def names(base):
    return sorted(p.name for p in base.iterdir() if p.name != ".lock")


def test_versions_follow_and_the_last_ones_stay(model, tmp_path):
    base = tmp_path / "base"
    for version in range(1, 6):
        other, blessed = another(model, version)
        made = push.push(other, blessed, base, keep=2)
        assert made == base / str(version)
    assert names(base) == ["4", "5"]
    record = json.loads((base / "5" / "pushed.json").read_text())
    assert record["version"] == 5 and record["unblessed"] is False
    assert record["verdict"]["blessed"] is True
    assert record["digest"] == digest_of(other)
    (base / "5" / "pushed.json").unlink()
    assert digest_of(base / "5") == digest_of(other)


def test_what_is_the_newest_already_is_not_pushed_twice(model, tmp_path):
    base = tmp_path / "base"
    one, two = another(model, 1), another(model, 2)
    assert push.push(*one, base) == base / "1"
    assert push.push(*one, base) == base / "1"
    assert push.push(*two, base) == base / "2"
    assert push.push(*one, base) == base / "3"
    bad = verdict(tmp_path / "bad", one[0], COLLAPSED)
    assert push.push(one[0], bad, base, unblessed=True) == base / "4"
    assert names(base) == ["2", "3", "4"]


def test_what_is_not_blessed_is_not_pushed(model, blessed, tmp_path, capsys):
    base, bad = tmp_path / "base", tmp_path / "bad"
    verdict(bad, model, COLLAPSED)
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
    with pytest.raises(UserError, match=r"no verdict|damaged"):
        push.push(model, blessed, tmp_path / "base")


def test_a_rollback_goes_to_the_one_before(model, tmp_path, capsys):
    base = tmp_path / "base"
    one, two = another(model, 1), another(model, 2)
    for pushed in (one, two):
        push.push(*pushed, base)
    assert push.main([f"--base_path={base}", "--rollback"]) == 0
    assert capsys.readouterr().out == f"{base / '1'}\n"
    assert names(base) == [".rolled-back-2", "1"]
    assert push.main([f"--base_path={base}", "--rollback"]) == 1
    assert "holds 1 versions" in capsys.readouterr().err
    # A number is never used twice.
    assert push.push(*two, base) == base / "3"


def test_a_verdict_is_next_to_what_is_served_now(model, tmp_path, capsys):
    base = tmp_path / "base"
    one, two, three = (another(model, number) for number in (1, 2, 3))
    push.push(*one, base)
    for _, folder in (two, three):
        file = folder / blessing.FILE
        told = {"last_digest": digest_of(one[0])}
        file.write_text(json.dumps({**json.loads(file.read_text()), **told}))
    assert push.push(*two, base) == base / "2"
    args = [f"--model={three[0]}", f"--blessing={three[1]}"]
    assert push.main([*args, f"--base_path={base}"]) == 1
    assert f"not compared with {base / '2'}" in capsys.readouterr().err
    assert names(base) == ["1", "2"]
    # Nor one that was compared with none, if that is asked for.
    four = another(model, 4)
    args = [f"--model={four[0]}", f"--blessing={four[1]}", "--compared"]
    assert push.main([*args, f"--base_path={base}"]) == 1
    assert f"not compared with {base / '2'}" in capsys.readouterr().err
    assert push.main([*args, f"--base_path={base}", "--unblessed"]) == 0
    record = json.loads((base / "3" / "pushed.json").read_text())
    assert "not compared with" in record["unblessed"]
    push.roll_back(base)
    # A push that was killed at its end is still done again.
    assert push.push(*two, base) == base / "2"


def test_what_changes_while_it_is_copied_is_not_pushed(
    model, blessed, tmp_path, monkeypatch
):
    copy = shutil.copytree

    def late(source, target, *args, **kwargs):
        (model / "model_card.md").write_text("of another one")
        return copy(source, target, *args, **kwargs)

    monkeypatch.setattr(push.shutil, "copytree", late)
    with pytest.raises(UserError, match="was changed meanwhile"):
        push.push(model, blessed, tmp_path / "base")
    assert names(tmp_path / "base") == []


def test_versions_may_begin_with_zeros_and_go_at_once(
    model, tmp_path, monkeypatch
):
    base = tmp_path / "base"
    one, two, three = (another(model, number) for number in (1, 2, 3))
    push.push(*one, base).rename(base / "007")
    (base / "9").write_text("no folder")
    assert push.push(*two, base, keep=1) == base / "8"
    assert names(base) == ["8", "9"]
    (base / "9").unlink()

    def killed(path, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(push.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            push.push(*three, base, keep=1)
    # No number stands for a part of a version, and the next push tidies up.
    assert names(base) == [".pushing-8", "9"]
    assert push.push(*three, base, keep=1) == base / "9"
    assert names(base) == ["9"]


def test_concurrent_pushes_all_succeed(model, tmp_path):
    base = tmp_path / "base"

    def job(number):
        other, blessed = another(model, number)
        args = [f"--model={other}", f"--blessing={blessed}", "--keep=9"]
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
