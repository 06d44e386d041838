import unicodedata

import pytest

from pipeline.sources.entries import Entry
from pipeline.sources.manifest import read_manifest
from stftgan_tf.errors import UserError


def read(path):
    return read_manifest(str(path)).entries


@pytest.fixture
def write(tmp_path, touch):
    """Writes a manifest of a.wav, b.wav and c.wav, which exist."""
    touch("a.wav", "b.wav", "c.wav")

    def write(text, name="list.csv"):
        path = tmp_path / name
        data = text if isinstance(text, bytes) else text.encode()
        path.write_bytes(data)
        return path

    return write


def test_csv(tmp_path, touch, write):
    touch("b/2.wav", "1.wav")
    path = write("file, label, speaker\nb/2.wav, two ,bob\n\n1.wav,,\n")
    assert read(path) == [
        Entry(str(tmp_path / "b/2.wav"), "b/2.wav", "two", "bob"),
        Entry(str(tmp_path / "1.wav"), "1.wav"),
    ]
    assert read_manifest(str(path)).own_fields == {"label", "speaker"}


@pytest.mark.parametrize(
    "text",
    [
        "\ufefffile,label\na.wav,x\nb.wav,y\n",
        "file;label\r\na.wav;x\r\nb.wav;y\r\n",
        "label\tfile\nx\ta.wav\ny\tb.wav",
        "File, Label \n a.wav , x \n,\nb.wav,y\n",
        "file,label,,\na.wav,x,,\nb.wav,y,,\n,,,\n",
        'file,text,label\na.wav,"one, ""two""\nthree",x\nb.wav,5" nail,y\n',
    ],
)
def test_dialects_of_csv(tmp_path, write, text):
    assert read(write(text)) == [
        Entry(str(tmp_path / "a.wav"), "a.wav", "x"),
        Entry(str(tmp_path / "b.wav"), "b.wav", "y"),
    ]


def test_json_lines(tmp_path, touch, write):
    touch("b/2.wav")
    path = write(
        '{"file": "b/2.wav", "label": " two ", "speaker": 7, "end": 1.5}\n\n'
        '{"file": "s3://x/1.wav", "text": "\u2028"}\n',
        "list.jsonl",
    )
    assert read(path) == [
        Entry(str(tmp_path / "b/2.wav"), "b/2.wav", "two", "7", 0.0, 1.5),
        Entry("s3://x/1.wav", "s3://x/1.wav"),
    ]


def test_excerpts_of_a_file(write):
    path = write(
        "file,start,end,label\n"
        "a.wav,0.4,0.8,no\na.wav,0,0.4,yes\na.wav,0.8,,yes\nb.wav,,,yes\n"
    )
    facts = [(e.name, e.start_secs, e.end_secs, e.label) for e in read(path)]
    assert facts == [
        ("a.wav", 0.4, 0.8, "no"),
        ("a.wav", 0.0, 0.4, "yes"),
        ("a.wav", 0.8, None, "yes"),
        ("b.wav", 0.0, None, "yes"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'file,text,label\na.wav,"open,x\nb.wav,z,x\n',
            "line 2: a quote is not closed",
        ),
        # The next quote closes it, and the row in between is swallowed.
        (
            'file,text,label\na.wav,z,x\nb.wav,"open,x\nc.wav,z",x\n',
            "line 3: a quote is not closed",
        ),
        (
            'file,text,label\na.wav,"open,x\nb.wav,"z",x\n',
            "line 2: ',' expected after",
        ),
        (
            "file,text,label\na.wav,z,x\nb.wav,well, no,x\n",
            r"line 3: 4 fields; expected 3 \(file, text, label\)",
        ),
        ("file,label\na.wav\n", "line 2: 1 field; expected 2"),
        ("file,label\na.wav,x,\n", "line 2: 3 fields; expected 2"),
        ("file,label\n,x\n", "line 2: expected a file"),
        ("file,label\na.wav,x\n\n ,y\n", "line 4: expected a file"),
        ("file,label,,\na.wav,x,,z\n", "line 2: 4 fields; expected 2"),
        ("file,label,label\na.wav,x,y\n", "has the column label twice"),
        ('file,label\na.wav,"x\ny"\n', "line 2: label contains a line break"),
        (
            "file,label,speaker\na.wav,x,s\nb.wav,y,s\n./a.wav,y,s\n",
            "lines 2 and 4, are about the same audio of a.wav but differ",
        ),
        (
            "file,label\nno/x.wav,x\na.wav,x\n./no/x.wav,y\n",
            "lines 2 and 4, are about the same audio of no/x.wav",
        ),
        (
            "file,start,end\na.wav,0,1\na.wav,2,3\na.wav,0.9,2\n",
            "lines 2 and 4, are about the same audio",
        ),
        ("file,start,end\na.wav,0,\na.wav,8,9\n", "lines 2 and 3, are about"),
        ("file,start,end\na.wav,1:30,\n", "line 2: start is '1:30'; expected"),
        ("file,start,end\na.wav,-1,\n", "line 2: start is '-1'; expected"),
        ("file,start,end\na.wav,,nan\n", "line 2: end is 'nan'; expected"),
        ("file,start,end\na.wav,2,1\n", "line 2: end is 1; expected more"),
        ("file,start,duration\na.wav,2,1\n", r"end is start \+ duration"),
        (
            "path,label\na.wav,x\n",
            "the columns path, label; expected file.*; rename path to file",
        ),
        ("a.wav|one, two\n", "the columns a.wav, one, two; expected file"),
        (
            "client_id\tpath\tsentence\n1\ta.wav\tYes, no, well, yes\n",
            "columns client_id, path, sentence; .*; rename path to file",
        ),
        # As LJ Speech: id, text, text.
        ("a|well, yes|well, yes\nb|no|no\n", "the columns a, well, yes, well"),
        ("a.wav,x\nb.wav,well, no\n", "the columns a.wav, x; expected file"),
        ("file\nhttps://a.org/a.wav\n", "line 2: file is .*expected a path"),
        ("file\nfile:///a.wav\n", "line 2: file is .*expected a path"),
        ("file,label\n", "lists no files"),
        ("", "lists no files"),
        ("file\ncafé.wav\n".encode("latin-1"), "not UTF-8 in line 2; save"),
        ("file\na.wav\n".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        ("file\na.wav\n".encode("utf-16-le"), "contains null characters"),
    ],
)
def test_csv_that_cannot_be_used(write, text, message):
    with pytest.raises(UserError, match=message):
        read(write(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"file": "a.wav"}\n{oops', "line 2: not JSON"),
        ('{"path": "a"}', "has the columns path; expected file"),
        ('{"file": "a.wav"}\n{"label": "x"}', "line 2: expected a file"),
        ("[]", "line 1: expected an object with file"),
        ('{"file": "a", "file": "b"}', "line 1: the key file occurs twice"),
        ('{"file": "a.wav", "label": ["x"]}', "line 1: label is not text"),
        ('{"file": "a.wav", "start": true}', "line 1: start is True; expected"),
        (
            '{"file": "a.wav", "label": "x"}\n{"file": "a.wav"}',
            "lines 1 and 2, are about the same audio",
        ),
        ("", "lists no files"),
    ],
)
def test_json_lines_that_cannot_be_used(write, text, message):
    with pytest.raises(UserError, match=message):
        read(write(text, "list.jsonl"))


def test_columns_that_look_misspelled_are_named(write):
    path = write("file,lable,Speaker_ID,text\na.wav,x,bob,hello\n")
    listing = read_manifest(str(path))
    assert not listing.own_fields
    lable, speaker = listing.warnings
    assert "the column lable is not used; rename it if it is the label" in lable
    assert "speaker_id is not used; rename it if it is the speaker" in speaker
    (start,) = read_manifest(str(write("file,start_ms\na.wav,9\n"))).warnings
    assert "rename it if it is the start in seconds" in start


def test_a_manifest_that_does_not_exist(tmp_path):
    with pytest.raises(UserError, match="list.csv: No such file"):
        read(tmp_path / "list.csv")


def test_a_manifest_of_missing_files(tmp_path, touch, write, monkeypatch):
    path = write("file\nin/a.wav\nin/b.wav\n")
    with pytest.raises(UserError) as error:
        read(path)
    place = tmp_path / "in" / "a.wav"
    assert "none of its 2 files exists" in str(error.value)
    assert f"the first is {place}; a.wav exists there, without in/" in str(
        error.value
    )
    touch("elsewhere/in/a.wav")
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="1 of them exist relative to the curr"):
        read(path)
    # The others can be used.
    (warning,) = read_manifest(str(write("file\nin/a.wav\nb.wav"))).warnings
    assert "1 of 2 files do not exist" in warning


@pytest.mark.parametrize(
    ("file", "hint"),
    [
        ("in%20side/a.wav", "it exists without percent-encoding"),
        ("in side/a", "in side/a.wav exists there"),
        (r"in side\a.wav", r"it exists with / instead of \\"),
        (r"C:\data\in side\a.wav", "in side/a.wav exists there, without C:/"),
    ],
)
def test_a_path_that_is_written_in_another_way(touch, write, file, hint):
    touch("in side/a.wav")
    with pytest.raises(UserError, match=f"first is .*; {hint}"):
        read(write(f"file\n{file}\n"))


def test_a_file_whose_name_differs_only_in_its_unicode_form(
    tmp_path, touch, write
):
    touch(unicodedata.normalize("NFD", "é/élan.wav"))
    path = write(unicodedata.normalize("NFC", "file\né/élan.wav\n"))
    with pytest.raises(UserError, match="differs only in the Unicode form"):
        read(path)
    with pytest.raises(UserError, match="differs only in upper and lower case"):
        read(write("file\nA.WAV\n"))
    (tmp_path / "link.wav").symlink_to("nowhere.wav")
    with pytest.raises(UserError, match=r"the first is .*link\.wav$"):
        read(write("file\nlink.wav\n"))
