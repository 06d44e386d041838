import concurrent.futures
import json
import shutil

import pytest

from pipeline import push
from tests.conftest import run_command
from tests.pipeline.test_versions import FAILED, another, evaluate, names


def test_only_a_blessed_export_is_pushed(model, base, tmp_path, capsys):
    failed = evaluate(tmp_path / "failed", model, FAILED)
    args = [f"--model={model}", f"--base_path={base}"]
    assert push.main([*args, f"--evaluation={failed}"]) == 1
    error = capsys.readouterr().err
    assert "is not blessed: ndb 50, at most 30" in error
    assert push.main(args) == 2
    other = shutil.copytree(model, tmp_path / "other")
    (other / "saved_model.pb").write_bytes(b"different")
    blessed = evaluate(tmp_path / "blessed", model)
    args = [f"--model={other}", f"--base_path={base}"]
    assert push.main([*args, f"--evaluation={blessed}"]) == 1
    assert "is of a different export" in capsys.readouterr().err
    assert not base.exists()
    assert push.main([*args, f"--evaluation={failed}", "--unblessed"]) == 0
    assert capsys.readouterr().out == f"{base / '1'}\n"
    record = json.loads((base / "1" / "pushed.json").read_text())
    assert "is of a different export" in record["unblessed"]


def test_concurrent_pushes_all_succeed(model, base):
    def job(number):
        other, blessed = another(model, number)
        args = [f"--model={other}", f"--evaluation={blessed}", "--keep=9"]
        return run_command("pipeline.push", *args, f"--base_path={base}")

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = list(pool.map(job, range(6)))
    assert [r.returncode for r in results] == [0] * 6, results
    assert names(base) == list("123456")
    assert len({r.stdout for r in results}) == 6


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--model=x", "--unblessed"], 1, "x is not an export"),
        (["--rollback"], 1, "is not a directory"),
        (["--rollback", "--model=x"], 2, "with --base_path only"),
        (["--keep=0", "--model=x", "--unblessed"], 2, "--keep is 0"),
        ([], 2, "expected --model and --evaluation"),
    ],
)
def test_bad_usage(base, flags, code, message, capsys):
    assert push.main([f"--base_path={base}", *flags]) == code
    assert message in capsys.readouterr().err
    assert not base.exists()
