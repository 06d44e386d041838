import json

import pytest

from stftgan_tf.errors import UserError
from stftgan_tf.evaluation import lineage


def test_each_record_of_a_lineage_appears_once(tmp_path):
    def write(name, *inputs):
        path = tmp_path / f"{name}.json"
        hashes = {path.name: "hash" for path in inputs}
        record = {"step": name, "inputs": hashes, "command": []}
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


def test_a_file_that_is_not_a_record_is_refused(tmp_path):
    path = tmp_path / "evaluation.json"
    path.write_text('{"blessed": true}')
    with pytest.raises(UserError, match="is not a record of a pipeline"):
        list(lineage.walk(path))
