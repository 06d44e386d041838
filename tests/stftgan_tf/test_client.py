import json
import socket
import threading

import pytest
import tensorflow as tf

from stftgan_tf import client, sample
from tests.conftest import serve
from tests.stftgan_tf.conftest import free_port

pytest.importorskip("tensorflow_serving")

# Samples that `sample` and `client` can both generate.
VARIANTS = ([], ["--truncation=0.5"], ["--secs=0.7"])


@pytest.fixture(scope="module")
def local_samples(export, tmp_path_factory):
    """Seeds 3 to 5 in all variants, generated in process."""
    output = tmp_path_factory.mktemp("local")
    args = [f"--model={export}", "--num=3", "--seed=3"]
    for number, flags in enumerate(VARIANTS):
        more = [*flags, f"--output={output / str(number)}"]
        assert sample.main([*args, *more]) == 0
    return wav_files(output)


def wav_files(directory):
    return {path.name: path.read_bytes() for path in directory.rglob("*.wav")}


def test_files_equal_those_that_sample_writes(
    address, local_samples, tmp_path, capsys
):
    args = [f"--server={address}", "--model_name=digits", "--num=3", "--seed=3"]
    args += ["--batch=2"]
    for number, flags in enumerate(VARIANTS):
        output = tmp_path / str(number)
        assert client.main([*args, *flags, f"--output={output}"]) == 0
    files = wav_files(tmp_path)
    assert len(files) == 9
    assert files == local_samples
    assert str(output / "secs-0.7-seed-000003.wav") in capsys.readouterr().out
    rows = json.loads((output / "samples.json").read_text())["samples"]
    assert [row["seed"] for row in rows] == [3, 4, 5]
    assert all((output / row["file"]).is_file() for row in rows)


def test_other_files_in_the_output_are_not_overwritten(
    digits_server, tmp_path, capsys
):
    mine = tmp_path / "seed-000000.wav"
    mine.write_text("my own recording")
    address = f"http://127.0.0.1:{digits_server.rest_api_port}"
    args = [f"--server={address}", "--model_name=digits", "--num=1"]
    assert client.main([*args, f"--output={tmp_path}"]) == 1
    assert "contains something else" in capsys.readouterr().err
    assert mine.read_text() == "my own recording"


def test_samples_cannot_be_longer_than_the_export_generates(
    digits_server, tmp_path, capsys
):
    address = f"http://127.0.0.1:{digits_server.rest_api_port}"
    args = [f"--server={address}", "--model_name=digits", "--secs=60"]
    assert client.main([*args, f"--output={tmp_path}"]) == 2
    assert (
        "--secs is 60; the model generates up to 5.0" in capsys.readouterr().err
    )


class OldExport(tf.Module):
    """Exports used to have the input `psi` instead of `truncation`."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.int64, "seed"),
            tf.TensorSpec([None], tf.float32, "psi"),
        ]
    )
    def sample(self, seed, psi):
        text = tf.strings.join([tf.as_string(seed), tf.as_string(psi)], " ")
        return {"audio": psi, "wav_bytes": text}


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_truncation_works_with_exports_that_call_it_psi(scheme, tmp_path):
    model = OldExport()
    signatures = {"serving_default": model.sample, "sample": model.sample}
    tf.saved_model.save(model, str(tmp_path / "1"), signatures)
    server = serve(tmp_path)
    port = server.port if scheme == "grpc" else server.rest_api_port
    output = tmp_path / "samples"
    args = [f"--server={scheme}://127.0.0.1:{port}", f"--output={output}"]
    try:
        assert client.main([*args, "--num=1", "--truncation=0.5"]) == 0
    finally:
        server.stop()
    wav = (output / "truncation-0.5-seed-000000.wav").read_bytes()
    assert wav == b"0 0.500000"


def test_a_label_of_a_model_without_labels_is_rejected(
    address, tmp_path, capsys
):
    args = [f"--server={address}", "--model_name=digits", "--label=3"]
    assert client.main([*args, f"--output={tmp_path}"]) == 1
    assert "model digits has no labels" in capsys.readouterr().err


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_an_unreachable_server_is_reported_at_the_deadline(
    scheme, tmp_path, capsys
):
    address = f"{scheme}://127.0.0.1:{free_port()}"
    args = [f"--server={address}", "--deadline_secs=0.3"]
    assert client.main([*args, f"--output={tmp_path}"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: UNAVAILABLE: ") and error.count("\n") == 1


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b'{"outputs": 3}', b'{"outputs": {"a": [1]}}']
)
def test_a_server_that_is_not_a_model_server_is_reported(
    body, tmp_path, capsys
):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + body)
            connection.close()

        threading.Thread(target=answer, daemon=True).start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        args = [f"--server={address}", f"--output={tmp_path}"]
        assert client.main(args) == 1
    assert "error: UNKNOWN: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--server=127.0.0.1:8500"], "expected http://HOST:PORT or grpc://"),
        (["--server=http://[::1:8501"], "server is 'http://[::1:8501'"),
        (["--deadline_secs=inf"], "--deadline_secs is inf; expected above 0"),
        (["--label=seven"], "--label is 'seven'; expected a number"),
        ([f"--label={2**63}"], f"--label is {2**63}; expected 0 to"),
        ([f"--model_version={2**63}"], f"--model_version is {2**63}; expected"),
        (["--num=0"], "--num is 0; expected 1 to 1000000"),
        (["--seed=-1"], "--seed is -1"),
        (["--truncation=0"], "--truncation is 0; expected above 0"),
        (["--secs=-1"], "--secs is -1; expected above 0"),
        (["--truncation=0.5", "--secs=1"], "cannot be combined"),
    ],
)
def test_invalid_flags_are_rejected(flags, message, capsys):
    assert client.main(flags) == 2
    assert message in capsys.readouterr().err
