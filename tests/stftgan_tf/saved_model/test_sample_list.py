import json

import pytest

from stftgan_tf import sample
from stftgan_tf.errors import UserError
from stftgan_tf.saved_model import sample_list


def write_list(path, *rows):
    path.write_text(json.dumps({"samples": rows}))
    return path


def contents(directory):
    """The bytes of all audio files by name."""
    return {path.name: path.read_bytes() for path in directory.glob("*.wav")}


def test_a_list_makes_the_same_files_again(labelled, tmp_path):
    commands = [
        ["--num=3", "--seed=5"],
        ["--num=2", "--label=2", "--truncation=0.7"],
        ["--num=4", "--interpolate", "3", "9"],
        ["--num=1", "--secs=0.1"],
    ]
    rows, expected = [], {}
    for number, flags in enumerate(commands):
        output = tmp_path / str(number)
        args = [f"--model={labelled.path}", f"--output={output}", *flags]
        assert sample.main(args) == 0
        rows += json.loads((output / "samples.json").read_text())["samples"]
        expected |= contents(output)
    # The weights of an interpolation are rounded in the list.
    rows = [row for row in rows if row.get("weight", 0) in (0, 1)]
    chosen = {row["file"] for row in rows}
    path = write_list(tmp_path / "favourites.json", *rows, rows[0])
    output = tmp_path / "again"
    args = [f"--model={labelled.path}", f"--list={path}", f"--output={output}"]
    assert sample.main(args) == 0
    assert contents(output) == {name: expected[name] for name in chosen}
    names = [
        row["file"]
        for row in json.loads((output / "samples.json").read_text())["samples"]
    ]
    assert names == list(dict.fromkeys(row["file"] for row in rows))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "row 2 of `samples`: no seed"),
        (
            {"seed": "x"},
            "row 2 of `samples`: the seed is 'x'; expected a whole",
        ),
        ({"seed": -1}, "row 2 of `samples`: --seed is -1; expected 0 to"),
        ({"seeds": [1, 2]}, "row 2 of `samples`: no weight"),
        (
            {"seeds": [1, 2], "weight": 2},
            "row 2 .* weight is 2.0; expected 0 to",
        ),
        (
            {"seed": 1, "truncation": 0},
            "row 2 .* --truncation is 0.0; expected",
        ),
        ({"seed": 1, "secs": "x"}, "row 2 of `samples`: could not convert"),
        (3, "row 2 of `samples`: 3 is not an object"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, row, message):
    path = write_list(tmp_path / "list.json", {"seed": 1}, row)
    with pytest.raises(UserError, match=message):
        sample_list.read(path, "export")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"samples": []}', "\xff"])
def test_what_is_not_a_list_is_refused(tmp_path, text):
    path = tmp_path / "list.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match="is not a list of samples"):
        sample_list.read(path, "export")
    with pytest.raises(UserError, match="cannot read .*: No such file"):
        sample_list.read(tmp_path / "none.json", "export")


def test_a_list_and_a_seed_cannot_be_combined(tmp_path, capsys):
    path = write_list(tmp_path / "list.json", {"seed": 1})
    args = ["--model=unused", f"--list={path}", "--seed=3"]
    assert sample.main(args) == 2
    assert "--list says what to make; remove --num" in capsys.readouterr().err
