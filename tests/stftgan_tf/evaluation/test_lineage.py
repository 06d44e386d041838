import json

import pytest

from stftgan_tf.errors import UserError
from stftgan_tf.evaluation import lineage


def test_a_record_and_what_it_came_from_each_once(tmp_path):
    def write(name, *inputs):
        path = tmp_path / f"{name}.json"
        given = {other.name: "hash" for other in inputs}
        record = {"step": name, "inputs": given, "command": []}
        path.write_text(json.dumps(record))
        return path

    shards = write("preprocess")
    run = write("train", shards, write("validate", shards))
    top = write("evaluate", write("export", run), shards)
    assert [(d, r["step"]) for d, r in lineage.walk(top)] == [
        (0, "evaluate"),
        (1, "export"),
        (2, "train"),
        (3, "preprocess"),
        (3, "validate"),
    ]


@pytest.mark.parametrize("text", [None, "{", "3"])
def test_a_record_that_cannot_be_read_is_named(tmp_path, text):
    path = tmp_path / "train.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match="train.json cannot be read"):
        lineage.read(path)


def test_what_is_no_record_is_told_apart(tmp_path):
    path = tmp_path / "evaluation.json"
    path.write_text('{"blessed": true}')
    with pytest.raises(UserError, match="is no record of a pipeline's"):
        list(lineage.walk(path))
