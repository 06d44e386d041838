import json
import shutil

import pytest

from pipeline import versions
from pipeline.versions import Rules
from stftgan_tf.errors import UserError
from stftgan_tf.evaluation import blessing
from stftgan_tf.files import directory_digest

FAILED = blessing.Check("ndb", 50, "at most", 30, "the model has collapsed")


def evaluate(directory, model, *checks, **more):
    """Writes an evaluation of the model, blessed unless a check fails."""
    figures = {"digest": directory_digest(model), "real": {}, "generated": {}}
    blessing.write(directory, {**figures, **more}, list(checks))
    return directory


def another(model, number, **more):
    """A different export, and its evaluation."""
    copy = model.with_name(f"model-{number}")
    shutil.copytree(model, copy)
    (copy / "model_card.md").write_text(f"number {number}")
    directory = model.with_name(f"evaluation-{number}")
    return copy, evaluate(directory, copy, **more)


def names(base):
    return sorted(p.name for p in base.iterdir() if p.name != ".lock")


def test_versions_count_up_and_only_the_newest_are_kept(model, base):
    for number in range(1, 6):
        export, evaluation = another(model, number)
        version = versions.push(export, evaluation, base, Rules(keep=2))
        assert version == base / str(number)
    assert names(base) == ["4", "5"]
    record = json.loads((base / "5" / "pushed.json").read_text())
    assert record["version"] == 5 and record["unblessed"] is False
    assert record["verdict"]["blessed"] is True
    assert record["digest"] == directory_digest(export)
    (base / "5" / "pushed.json").unlink()
    assert directory_digest(base / "5") == directory_digest(export)


def test_what_push_did_not_write_is_never_removed(model, base):
    for year in ("2023", "2024"):
        (base / year).mkdir(parents=True)
        (base / year / "photograph.png").touch()
    for number in range(1, 5):
        version = versions.push(*another(model, number), base, Rules(keep=1))
        if number == 2:
            (version / "notes.txt").write_text("the best so far")
    assert names(base) == ["2023", "2024", "2026", "2028"]
    assert (base / "2026" / "notes.txt").exists()


def test_the_newest_version_is_not_pushed_twice(model, base, tmp_path):
    one, two = another(model, 1), another(model, 2)
    assert versions.push(*one, base) == base / "1"
    assert versions.push(*one, base) == base / "1"
    assert versions.push(*two, base) == base / "2"
    assert versions.push(*one, base) == base / "3"
    # The same export is a new version once its verdict is different.
    failed = evaluate(tmp_path / "failed", one[0], FAILED)
    assert (
        versions.push(one[0], failed, base, Rules(unblessed=True)) == base / "4"
    )
    assert names(base) == ["2", "3", "4"]


@pytest.mark.parametrize("damage", ["missing", "cut", "contradiction"])
def test_a_damaged_evaluation_blesses_nothing(model, base, tmp_path, damage):
    evaluation = evaluate(tmp_path / "evaluation", model)
    if damage == "missing":
        shutil.rmtree(evaluation)
    elif damage == "cut":
        (evaluation / "evaluation.json").write_text('{"blessed": tr')
    else:
        (evaluation / "BLESSED").unlink()
    with pytest.raises(UserError, match=r"no evaluation|damaged"):
        versions.push(model, evaluation, base)
    assert not base.exists()


def test_a_rollback_returns_to_the_version_before(model, base):
    one, two = another(model, 1), another(model, 2)
    for pushed in (one, two):
        versions.push(*pushed, base)
    assert versions.roll_back(base) == base / "1"
    assert names(base) == [".rolled-back-2", "1"]
    with pytest.raises(UserError, match="contains 1 version;"):
        versions.roll_back(base)
    # A number is never used twice.
    assert versions.push(*two, base) == base / "3"


def test_an_export_must_be_compared_with_the_version_blessed_last(model, base):
    one = another(model, 1)
    last = directory_digest(one[0])
    two = another(model, 2, last_digest=last)
    three = another(model, 3, last_digest=last)
    versions.push(*one, base)
    assert versions.push(*two, base) == base / "2"
    with pytest.raises(UserError, match=f"did not compare it with {base}/2"):
        versions.push(*three, base)
    # An evaluation without a comparison passes unless one is required.
    four = another(model, 4)
    with pytest.raises(UserError, match=f"did not compare it with {base}/2"):
        versions.push(*four, base, Rules(compared=True))
    assert names(base) == ["1", "2"]
    versions.push(*four, base, Rules(unblessed=True, compared=True))
    record = json.loads((base / "3" / "pushed.json").read_text())
    assert "did not compare it" in record["unblessed"]
    versions.roll_back(base)
    # A push that was killed at its end can be repeated.
    assert versions.push(*two, base) == base / "2"


def test_the_newest_blessed_version_is_the_last_blessed(tmp_path):
    assert versions.last_blessed(tmp_path / "nowhere") is None
    for version, unblessed in (
        ("8", None),
        ("9", None),
        ("10", None),
        ("11", "in a hurry"),
        ("x", None),
    ):
        (tmp_path / version).mkdir()
        record = json.dumps({"unblessed": unblessed})
        (tmp_path / version / "pushed.json").write_text(record)
    assert versions.last_blessed(tmp_path) == tmp_path / "10"


def test_an_export_that_changes_while_it_is_copied_is_not_pushed(
    model, base, tmp_path, monkeypatch
):
    evaluation = evaluate(tmp_path / "evaluation", model)
    copy = shutil.copytree

    def changing(source, target, *args, **kwargs):
        (model / "model_card.md").write_text("of a different export")
        return copy(source, target, *args, **kwargs)

    monkeypatch.setattr(versions.shutil, "copytree", changing)
    with pytest.raises(UserError, match="was changed by another process"):
        versions.push(model, evaluation, base)
    assert names(base) == []


def test_names_may_have_leading_zeros(model, base):
    versions.push(*another(model, 1), base).rename(base / "007")
    (base / "9").write_text("not a directory")
    assert versions.push(*another(model, 2), base, Rules(keep=1)) == base / "8"
    assert names(base) == ["8", "9"]


def test_a_version_disappears_at_once(model, base, monkeypatch):
    one, two = another(model, 1), another(model, 2)
    versions.push(*one, base)

    def killed(path, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(versions.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            versions.push(*two, base, Rules(keep=1))
    # No number names a part of a version, and the next push removes the rest.
    assert names(base) == [".pushing-1", "2"]
    assert versions.push(*two, base, Rules(keep=1)) == base / "2"
    assert names(base) == ["2"]


def with_audio(pushed, rate_hz):
    """An export and its evaluation, with metadata of a sample rate."""
    export, evaluation = pushed
    text = json.dumps({"sample_rate_hz": rate_hz, "samples": rate_hz})
    (export / "metadata.json").write_text(text)
    # A SavedModel with an empty graph.
    (export / "saved_model.pb").write_bytes(b"\x12\x00")
    return export, evaluate(evaluation, export)


def test_another_contract_has_to_be_asked_for_and_is_recorded(model, base):
    wide = with_audio(another(model, 1), 16000)
    narrow = with_audio(another(model, 2), 8000)
    versions.push(*wide, base)
    # Blessed or not.
    for rules in (Rules(), Rules(unblessed=True), Rules(compared=True)):
        with pytest.raises(
            UserError,
            match=rf"changes what clients of {base}/1 rely on: sample rate "
            r"16000 Hz -> 8000 Hz; window .*\. Use --new_contract to",
        ):
            versions.push(*narrow, base, rules)
    assert names(base) == ["1"]
    # There is nothing that it could have been compared with.
    rules = Rules(new_contract=True, compared=True)
    assert versions.push(*narrow, base, rules) == base / "2"
    record = json.loads((base / "2" / "pushed.json").read_text())
    assert record["unblessed"] is False
    assert record["new_contract"]["from"] == "1"
    assert (
        "sample rate 16000 Hz -> 8000 Hz" in record["new_contract"]["changes"]
    )
    # It is the contract of the next one, which is not new.
    third = with_audio(another(model, 3), 8000)
    versions.push(*third, base, Rules(unblessed=True))
    record = json.loads((base / "3" / "pushed.json").read_text())
    assert "new_contract" not in record


def test_the_remedies_of_an_evaluation_are_in_the_refusal(
    model, base, tmp_path
):
    remedies = ["Train longer."]
    failed = evaluate(tmp_path / "failed", model, FAILED, remedies=remedies)
    with pytest.raises(UserError, match=r"collapsed\)\. Train longer\."):
        versions.push(model, failed, base)
