import os
import pty
import signal
import subprocess
import sys
import threading
import time

import pytest

from pipeline.workflow import process
from tests.pipeline.workflow.conftest import CHILD


def test_the_output_is_shown_and_returned(capfd):
    result = process.run([CHILD, "--print=one", "--print=two", "--stderr=x"])
    assert (result.code, result.lines) == (0, ["one", "two"])
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("one\ntwo\n", "x\n")


def test_the_error_message_is_returned_and_not_shown(capfd):
    flags = ["--stderr=a warning", "--stderr=error: the disk is full"]
    result = process.run([CHILD, *flags, "--code=2"])
    assert (result.code, result.error) == (2, "the disk is full")
    assert capfd.readouterr().err == "a warning\n"


def test_lines_may_be_hidden_and_variables_set(capfd):
    flags = ["--print=NOT_BLESSED: no", "--print=end", "--variable=ANSWER"]
    result = process.run([CHILD, *flags], {"ANSWER": "42"}, "NOT_BLESSED")
    assert result.lines == ["NOT_BLESSED: no", "end", "42"]
    assert capfd.readouterr().out == "end\n42\n"


def test_a_command_that_was_killed_says_by_what():
    result = process.run([CHILD, "--kill"])
    assert result.error.startswith("killed by SIGKILL, often because memory")


def test_only_the_last_line_is_the_error_message(capfd):
    flags = ["--stderr=error: repaired", "--stderr=done"]
    result = process.run([CHILD, *flags, "--code=1"])
    assert result.error.startswith("exit code 1: python -m tests.")
    assert capfd.readouterr().err == "error: repaired\ndone\n"


def test_secrets_are_in_no_message():
    result = process.run([CHILD, "--code=1", "--token", "abc"])
    assert result.error.endswith("--token ...")
    command = ["pipeline.preprocess", "--s3_access_key_id", "me", "--x=1"]
    command += ["--s3_secret_access_key=him", "--azure_token", "it", "--y"]
    assert " ".join(process.without_secrets(command)) == (
        "pipeline.preprocess --s3_access_key_id ... --x=1 "
        "--s3_secret_access_key=... --azure_token ... --y"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_forwarded(number, capfd):
    pid = os.getpid()

    def send():
        while "waiting" not in capfd.readouterr().out:
            time.sleep(0.01)
        os.kill(pid, number)

    thread = threading.Thread(target=send)
    thread.start()
    handler = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        process.run([CHILD, "--wait"])
    thread.join()
    assert f"signal {int(number)}" in capfd.readouterr().out
    assert signal.getsignal(number) is handler


def parent_of(flag):
    """The words of a process that runs CHILD."""
    code = f"process.run(['{CHILD}', '{flag}'])"
    return [
        sys.executable,
        "-c",
        f"from pipeline.workflow import process; {code}",
    ]


def test_a_command_is_killed_with_its_parent():
    parent = subprocess.Popen(
        parent_of("--wait"), stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout.readline() == "waiting\n"
    parent.kill()
    parent.wait()
    # The child held the other end of the pipe until it was killed too.
    assert parent.stdout.read() == ""
    parent.stdout.close()


def test_a_command_knows_that_it_is_on_a_terminal():
    reader, writer = pty.openpty()
    subprocess.run(parent_of("--terminal"), stderr=writer, check=True)
    os.close(writer)
    assert b"terminal: True" in os.read(reader, 1000)
    os.close(reader)
