import json
import shutil
import sys

import pytest

from stftgan_tf import infra_validate
from tests.conftest import ROOT, run_command


def test_a_valid_export_is_blessed(export, tmp_path):
    # In its own process, because XLA stays disabled.
    result = run_command(
        "stftgan_tf.infra_validate",
        f"--model={export}",
        f"--output={tmp_path}",
        "--max_latency_ms=60000",
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "INFRA_BLESSED\n"
    assert (tmp_path / "INFRA_BLESSED").is_file()
    verdict = json.loads((tmp_path / "infra.json").read_text())
    assert verdict["blessed"] is True and verdict["problems"] == []


def test_a_damaged_export_replaces_an_earlier_blessing(
    export, tmp_path, capsys
):
    model = shutil.copytree(export, tmp_path / "model")
    (model / "saved_model.pb").write_bytes(b"damaged")
    output = tmp_path / "infra"
    output.mkdir()
    (output / "infra.json").write_text('{"blessed": true}')
    (output / "INFRA_BLESSED").touch()
    args = [f"--model={model}", f"--output={output}"]
    assert infra_validate.main(args) == 1
    assert "damaged" in capsys.readouterr().err
    names = sorted(path.name for path in output.iterdir())
    assert names == ["INFRA_NOT_BLESSED", "infra.json"]


def test_a_latency_of_zero_is_rejected(capsys):
    assert infra_validate.main(["--max_latency_ms=0"]) == 2
    message = "error: --max_latency_ms is 0; expected above 0\n"
    assert capsys.readouterr().err == message


@pytest.mark.slow
def test_the_export_is_also_checked_in_a_model_server(
    export, tmp_path, monkeypatch
):
    """Uses this project's server, which has the same flags."""
    pytest.importorskip("tensorflow_serving")
    server = tmp_path / "tensorflow_model_server"
    server.write_text(
        f'#!/bin/sh\ncd {ROOT}\nexec {sys.executable} -m stftgan_tf.serve "$@"'
        " --rest_api_port=-1\n"
    )
    server.chmod(0o755)
    monkeypatch.setenv("TF_MODEL_SERVER", str(server))
    result = run_command(
        "stftgan_tf.infra_validate",
        f"--model={export}",
        f"--output={tmp_path / 'infra'}",
        "--max_latency_ms=60000",
    )
    assert result.returncode == 0, result.stderr
    verdict = json.loads((tmp_path / "infra" / "infra.json").read_text())
    assert verdict["server"] == str(server)
