import json

import numpy as np
import pytest
from PIL import Image

from stftgan_tf.errors import UserError
from stftgan_tf.evaluation import history

ROWS = [
    {"step": 1, "critic_loss": 1.0, "generator_loss": 2.0},
    {"step": 2, "watch/ndb": 5, "watch/recall": 0.5, "watch/frechet": 9.0},
    {"step": 3, "critic_loss": 0.5, "generator_loss": 1.0},
    {"step": 4, "watch/ndb": 3, "watch/recall": 0.7, "watch/frechet": 7.0},
]


def titles(run, rows, tail=""):
    text = "".join(json.dumps(row) + "\n" for row in rows) + tail
    (run / "metrics.jsonl").write_text(text)
    return [title for title, _ in history.curves(run, 4)]


def test_curves_of_a_run(tmp_path):
    expected = [
        "Losses",
        "Clusters that differ (NDB)",
        "Precision and recall",
        "Frechet distance",
    ]
    assert titles(tmp_path, ROWS) == expected
    # A kill may leave an incomplete last row.
    assert titles(tmp_path, ROWS, '{"step": 5, "critic_l') == expected
    # Rows of earlier versions.
    old = [{k.removeprefix("watch/"): v for k, v in r.items()} for r in ROWS]
    assert titles(tmp_path, old) == expected


def test_a_directory_without_metrics_is_an_error(tmp_path):
    with pytest.raises(UserError, match="contains no metrics of a training"):
        history.curves(tmp_path, 4)


def test_previews_are_in_order_and_at_most_24(tmp_path):
    (tmp_path / "samples").mkdir()
    image = Image.fromarray(np.zeros((40, 1800, 3), np.uint8))
    for step in range(0, 300, 10):
        image.save(tmp_path / "samples" / f"step-{step:08d}.png")
    previews = history.previews(tmp_path)
    steps = [step for step, _ in previews]
    assert steps == sorted(steps) and len(steps) == 24
    assert (steps[0], steps[-1]) == (0, 290)
    assert previews[0][1][8:12] == b"WEBP"
