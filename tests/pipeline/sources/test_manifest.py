import pytest

from pipeline.sources.entries import Entry
from pipeline.sources.manifest import read_manifest
from stftgan_tf.errors import UserError


def test_csv(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("file, label, speaker\nb/2.wav, two, bob\n1.wav,,\n")
    assert read_manifest(str(path)) == [
        Entry(str(tmp_path / "b/2.wav"), "b/2.wav", "two", "bob"),
        Entry(str(tmp_path / "1.wav"), "1.wav", "", ""),
    ]


def test_csv_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("file,label\n/a.wav,one\n", encoding="utf-8-sig")
    assert read_manifest(str(path)) == [Entry("/a.wav", "/a.wav", "one", None)]


def test_json_lines(tmp_path):
    path = tmp_path / "list.jsonl"
    path.write_text(
        '{"file": "b/2.wav", "label": "two", "speaker": 7}\n\n'
        '{"file": "s3://x/1.wav", "text": "\u2028"}\n'
    )
    assert read_manifest(str(path)) == [
        Entry(str(tmp_path / "b/2.wav"), "b/2.wav", "two", "7"),
        Entry("s3://x/1.wav", "s3://x/1.wav", None, None),
    ]


@pytest.mark.parametrize(
    ("extension", "data", "message"),
    [
        (
            "csv",
            b"path,label\na.wav,x\n",
            "has the columns path, label; expected file",
        ),
        ("csv", b"file,label\n", "lists no files"),
        ("csv", b"label,file\nx,a.wav\ny\n", "entry 2 has no file"),
        ("csv", b"", "has the columns none"),
        ("csv", b"file\ncaf\xe9.wav\n", "is not UTF-8"),
        ("jsonl", b'{"file": "a"}\n{oops', "line 2, is not JSON"),
        ("jsonl", b'{"path": "a"}', "line 1: expected an object with file"),
        ("jsonl", b"[]", "line 1: expected an object"),
        ("jsonl", b"", "lists no files"),
    ],
)
def test_a_manifest_that_cannot_be_used(tmp_path, extension, data, message):
    path = tmp_path / f"list.{extension}"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message):
        read_manifest(str(path))


def test_a_manifest_that_does_not_exist(tmp_path):
    with pytest.raises(UserError, match="list.csv: No such file"):
        read_manifest(str(tmp_path / "list.csv"))
