"""Advice for hand-made metrics and histories."""

import json

import pytest

from stftgan_tf import config as config_lib
from stftgan_tf.config import BlessConfig
from stftgan_tf.errors import UserError
from stftgan_tf.evaluation import blessing, remedies
from tests.stftgan_tf.evaluation.test_blessing import REAL, before, metrics

# 500 steps a minute.
FALLING = (18.6, 17.2, 16.1, 15.9, 15.3, 14.1)
FLAT = (18.6, 9.1, 6.2, 6.0, 6.1, 6.05)
RISING = (18.6, 9.1, 6.2, 6.0, 8.1, 9.5)


@pytest.fixture(scope="module")
def config():
    return config_lib.load("digits8k", ["train.steps=20000"])


def history(frechet=(), step=3000, every=500):
    points = tuple((every * (i + 1), f) for i, f in enumerate(frechet))
    return remedies.History(step, step / 500 * 60, points)


def advice(config, past, last=None, **changes):
    values = metrics(**changes)
    checks = blessing.checks(values, BlessConfig(), last)
    (text,) = remedies.remedies(checks, values, config, past)
    assert text[0].isupper() and not text.endswith(".") and ". " not in text
    return text


@pytest.mark.parametrize(
    "change", [{"recall": 0.03}, {"coverage": 0.1}, {"ndb": 40}]
)
def test_a_training_that_still_improves_should_be_longer(config, change):
    # Step 2000 is the last measurement before the final third.
    assert advice(config, history(FALLING), **change) == (
        "Frechet was still falling (15.9 -> 14.1 over the last 1,000 steps): "
        "train longer, for instance --minutes 15"
    )


def test_a_flat_training_needs_another_network_or_more_data(config):
    width = config.model.generator.width
    assert advice(config, history(FLAT), recall=0.03) == (
        "The figures have been flat since step 1,500: use a wider network "
        f"(model.generator.width={2 * width}) or more varied recordings"
    )


def test_a_training_that_went_wrong_needs_smaller_steps(config):
    text = advice(config, history(RISING), frechet=20.0)
    assert text.startswith(
        "Frechet was lowest at step 2,000 (6) and then rose to 9.5: train "
        "again with smaller learning rates"
    )


@pytest.mark.parametrize(
    ("past", "flag"),
    [
        # 6 of 40 minutes: twice as long.
        (history(FALLING), "--minutes 15"),
        # Less than a tenth of the 20,000 steps: four times as long.
        (history(step=1000), "--minutes 10"),
        # Twice as many steps are more than the config allows.
        (history(step=15000), "--steps 30000"),
        (remedies.History(15000), "--steps 30000"),
        (remedies.History(120), "--steps 20000"),
        # The export is of step 1000, but the training went on to 6000.
        (history((9, 9, 9, 9, 9, 9), 1000, 1000), "--minutes 30"),
    ],
)
def test_how_much_longer(config, past, flag):
    assert remedies.longer_flag(config, past) == flag


def test_without_measurements_the_steps_decide(config):
    assert advice(config, history(step=200), recall=0.03) == (
        "The training ended after 200 of the config's 20,000 steps: train "
        "longer, for instance --minutes 2"
    )
    done = advice(config, history(step=20000), recall=0.03)
    assert done == (
        "All 20,000 steps of the config are done, and their trend is unknown: "
        "train longer, for instance --steps 40000"
    )


def test_copies_need_more_recordings_however_the_training_went(config):
    text = advice(config, history(FALLING), memorised=0.2)
    assert "add recordings, or train for fewer steps" in text
    plain = config_lib.load("digits8k", ["augment.target=0"])
    text = advice(plain, history(FALLING), memorised=0.2)
    assert "add recordings, set augment.target=0.6, or train for" in text


def test_repeated_windows_need_another_loss(config):
    text = advice(config, history(FLAT), nearest_self=0.1)
    assert "smaller learning rates" in text
    for change, key in (
        ("train.loss=wgan", "train.loss=rpgan-r1r2 instead of wgan"),
        ("model.condition=none", "use model.condition=cluster"),
    ):
        other = config_lib.load("digits8k", [change])
        text = advice(other, history(FLAT), diversity_ratio=0.1)
        assert key in text


def test_labels_that_real_windows_do_not_match_are_wrong(config):
    text = advice(config, history(FLAT), label_recognised=0.1)
    assert "recognises real windows, but not these: check the labels" in text
    values = metrics(label_recognised=0.1)
    values["real"] = {**REAL, "label_recognised": 0.3}
    checks = blessing.checks(values, BlessConfig())
    (text,) = remedies.remedies(checks, values, config, history(FALLING))
    assert text == (
        "The classifier recognises only 30 % of the real windows: check the "
        "labels with python -m pipeline.validate"
    )


def test_a_small_evaluation_split_makes_limits_uncertain(config):
    values = metrics(recall=0.03)
    values["real"] = {**REAL, "windows": 40}
    checks = blessing.checks(values, BlessConfig())
    (text,) = remedies.remedies(checks, values, config, history(FLAT))
    assert text.startswith("The evaluation split has only 40 windows")


def test_worse_than_the_version_served(config):
    text = advice(config, history(FLAT), last=before(2.0, 3.0), frechet=3.0)
    assert text.startswith("The version that is served is better")
    text = advice(config, history(FALLING), last=before(2.0, 3.0), frechet=3.0)
    assert text.startswith("Frechet was still falling")


def test_remedies_are_parallel_to_reasons_and_stated_once(config):
    values = metrics(recall=0.03, ndb=40, memorised=0.2)
    checks = blessing.checks(values, BlessConfig())
    texts = remedies.remedies(checks, values, config, history(FALLING))
    reasons = blessing.reasons(checks)
    assert len(texts) == len(reasons) == 3
    lines = blessing.verdict_lines({"reasons": reasons, "remedies": texts})
    assert lines == [
        f"NOT_BLESSED: {reasons[0]}. {texts[0]}",
        f"NOT_BLESSED: {reasons[1]}",
        f"NOT_BLESSED: {reasons[2]}. {texts[2]}",
    ]
    # An evaluation of an earlier version has no remedies.
    assert blessing.verdict_lines({"reasons": reasons[:1]}) == [
        f"NOT_BLESSED: {reasons[0]}"
    ]
    assert blessing.verdict_lines({"reasons": []}) == ["BLESSED"]


def test_the_history_of_a_run_is_read(tmp_path):
    rows = [
        {"step": 50, "critic_loss": 1.0},
        {"step": 500, "watch/frechet": 12.5},
        # The name in earlier versions.
        {"step": 1000, "frechet": 9.5},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "metrics.jsonl").write_text(text)
    metadata = {"step": 500, "train_secs": 60.0}
    past = remedies.read_history(metadata, tmp_path)
    assert past == remedies.History(500, 60.0, ((500, 12.5), (1000, 9.5)))
    assert remedies.read_history(metadata, None).frechet == ()
    with pytest.raises(UserError, match="contains no metrics of a training"):
        remedies.read_history(metadata, tmp_path / "nowhere")
