import subprocess
import sys
from pathlib import Path

import pytest

from stftgan_tf import __main__ as console
from stftgan_tf import cli
from stftgan_tf.config import yaml_text
from stftgan_tf.errors import ConfigError, UsageError, UserError
from tests.conftest import ROOT


def raise_error(error):
    raise error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("a b"), 2),
        (UsageError("a b"), 2),
        (UserError("a\n  b"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_expected_errors_become_one_line_and_an_exit_code(capsys, error, code):
    assert cli.run_command(raise_error, error) == code
    assert capsys.readouterr().err in ("error: a b\n", "error: interrupted\n")


def test_system_error_names_the_file(capsys):
    assert cli.run_command(open, "/nowhere/at/all") == 1
    message = "error: /nowhere/at/all: No such file or directory\n"
    assert capsys.readouterr().err == message


def test_unexpected_error_is_one_line_that_names_the_place(capsys):
    assert cli.run_command(lambda: 1 // 0) == 1
    error = capsys.readouterr().err
    assert error.startswith(
        "error: unexpected ZeroDivisionError in test_cli.py"
    )
    assert "integer division" in error and error.count("\n") == 1


def test_unexpected_error_of_a_library_names_the_line_that_called_it(capsys):
    # Neither text nor bytes, so PyYAML fails in its own code.
    assert cli.run_command(yaml_text.load, 7) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: unexpected AttributeError in yaml_text.py")


def test_developer_sees_the_traceback_of_an_unexpected_error():
    code = "from stftgan_tf import cli; cli.run_command(lambda: 1 // 0)"
    process = subprocess.run(
        [sys.executable, "-X", "dev", "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert "Traceback" in process.stderr


def test_missing_memory_is_one_line(capsys):
    assert cli.run_command(raise_error, MemoryError()) == 1
    message = "error: there is not enough memory\n"
    assert capsys.readouterr().err == message


def test_local_path_refuses_a_url(capsys):
    parser = cli.parser(None, "")
    parser.add_argument("--run", type=cli.local_path)
    assert parser.parse_args(["--run=a/b"]).run == Path("a/b")
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(["--run=s3://a/b"])
    assert stop.value.code == 2
    assert "s3://a/b is remote; expected" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parser.parse_args(["--run="])
    assert "--run: the path is empty" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parser.parse_args(["--run=a\udcff"])
    assert "is not UTF-8, which TensorFlow needs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--stpes=3"], "unknown argument --stpes; did you mean --steps?"),
        (["here"], "unknown argument here; see --help"),
        (["--steps"], "argument --steps: expected one argument; see --help"),
    ],
)
def test_bad_arguments_become_one_line(args, message, capsys):
    parser = cli.parser(None, "")
    parser.add_argument("--steps")
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(args)
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_hyphens_in_flags_stand_for_underscores():
    parser = cli.parser(None, "")
    parser.add_argument("--dry_run", action="store_true")
    parser.add_argument("--base_path")
    args, rest = parser.parse_known_args(
        ["--dry-run", "--base-path=a-b", "--flink-version=1"]
    )
    assert args.dry_run
    assert args.base_path == "a-b"
    # Not ours, so it reaches Beam as it is.
    assert rest == ["--flink-version=1"]


def test_usage_line_begins_as_the_command_line_does(monkeypatch):
    example = "python -m pipeline.run --root a"
    monkeypatch.setattr(sys, "argv", ["/x/pipeline/run.py"])
    assert cli.parser(None, example).prog == "python -m pipeline.run"
    parser = cli.parser(None, example, subcommand="status")
    assert parser.prog == "python -m pipeline.run status"
    monkeypatch.setattr(sys, "argv", ["/x/bin/stftgan"])
    assert cli.parser(None, example).prog == "stftgan run"


def test_console_script_lists_all_commands(capsys):
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in ("pipeline", "stftgan_tf")
        for path in (ROOT / package).glob("*.py")
        if "\nif __name__ ==" in path.read_text()
    }
    commands = {module for module, _ in console.COMMANDS.values()}
    assert commands == modules - {"stftgan_tf.__main__"}
    assert console.run(["--help"]) == 0
    listing = capsys.readouterr().out
    for name, (_, summary) in console.COMMANDS.items():
        assert f"  {name} " in listing
        assert summary in listing
    assert console.run([]) == 2


def test_console_script_suggests_a_command(capsys):
    assert console.run(["trian"]) == 2
    message = "error: no command 'trian'; did you mean train?"
    assert message in capsys.readouterr().err


def test_console_script_runs_a_command(capsys):
    assert console.run(["validate", "--print-config"]) == 0
    assert "sample_rate_hz: 8000" in capsys.readouterr().out


# Modules that take longer to import than a usage error may take.
_HEAVY = {"tensorflow", "keras", "apache_beam", "tensorflow_datasets", "tfx"}

_BAD_FLAGS = """
import contextlib, io, sys
from stftgan_tf import __main__ as console

for name in console.COMMANDS:
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            # Beam's flags pass through preprocess and run.
            code = console.run([name, "--num_shards", "--set"])
    except SystemExit as stop:
        code = stop.code
    except ImportError as error:
        code = error.name
    print(name, code, len(errors.getvalue().splitlines()), *sys.modules)
"""


def test_bad_flags_are_refused_before_heavy_modules_are_imported():
    process = subprocess.run(
        [sys.executable, "-c", _BAD_FLAGS],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert process.returncode == 0, process.stderr
    lines = [line.split() for line in process.stdout.splitlines()]
    assert [name for name, *_ in lines] == list(console.COMMANDS)
    for name, code, num_lines, *modules in lines:
        assert (code, num_lines) == ("2", "1"), name
        assert not _HEAVY & set(modules), name
