import pytest

from pipeline.beam import checks
from stftgan_tf.errors import UsageError, UserError


@pytest.mark.parametrize("source", ["wavs", "list.csv", "../corpus/wavs"])
def test_a_source_inside_the_output_is_refused(tmp_path, tiny, source):
    corpus = tmp_path / "corpus"
    (corpus / "wavs").mkdir(parents=True)
    (corpus / "list.csv").write_text("file\nwavs/a.wav\n")
    with pytest.raises(UsageError, match="is the same as --output .* or is"):
        checks.check_source(f"{corpus}/{source}", f"{corpus}/", tiny.audio)


@pytest.mark.parametrize("link", [False, True])
def test_recordings_inside_the_output_are_refused(tmp_path, tiny, link):
    """A manifest or links may list files from anywhere."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    path = corpus / "a.wav"
    path.touch()
    if link:
        path = tmp_path / "link.wav"
        path.symlink_to(corpus / "a.wav")
    with pytest.raises(UsageError, match=r"\.wav is the same as --output"):
        checks.check_paths([str(path)], str(corpus), tiny.audio)
    checks.check_paths([str(path)], str(tmp_path / "corpus-2"), tiny.audio)


def test_remote_recordings_inside_the_output_are_refused(tiny):
    paths = ["s3://bucket/in/a.wav", "s3://bucket/in/b.wav"]
    checks.check_paths(paths, "s3://bucket/in/b", tiny.audio)
    with pytest.raises(UsageError, match="s3://bucket/in/a.wav is the same"):
        checks.check_paths(paths, "s3://bucket/in/", tiny.audio)


def test_a_link_to_itself_is_no_output(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(UsageError, match="which is a link to itself"):
        checks.check_output(str(loop))


def test_the_default_output_has_the_name_of_the_source():
    assert checks.default_output("lists/digits.csv") == "tfrecords/digits"


def test_one_job_at_a_time_writes_an_output(tmp_path):
    output = str(tmp_path / "x")
    with checks.output_lock(output):
        with pytest.raises(UserError, match="another job is writing"):
            with checks.output_lock(output):
                pass
    with checks.output_lock(output):
        assert not (tmp_path / "x").exists()
    assert not list(tmp_path.iterdir())


def test_the_old_data_set_of_a_killed_job_returns(tmp_path):
    token = "0" * 32
    old = tmp_path / f".old-x-{token}"
    old.mkdir()
    (tmp_path / f".incomplete-x-{token}").mkdir()
    (tmp_path / f".incomplete-x-{token}.lock").touch()
    with checks.output_lock(str(tmp_path / "x")):
        assert (tmp_path / "x").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
