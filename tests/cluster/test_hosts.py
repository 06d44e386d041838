"""What tests with several hosts rely on."""

import subprocess
import sys
import time

import pytest

from tests.cluster import hosts

ANSWER = """
import socket
server = socket.create_server(("", 7000))
print("ready", flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall(socket.gethostname().encode())
    connection.close()
"""
ASK = """
import socket
with socket.create_connection(("one", 7000), timeout=2) as connection:
    print(connection.recv(99).decode())
"""


def output(host, *command):
    process = host.popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return process.communicate(timeout=60)[0]


@pytest.mark.cluster
def test_namespaces_are_hosts_with_names_links_and_a_tmp_of_their_own(tmp_path):
    python = sys.executable
    with hosts.namespaces(["one", "two"], tmp_path) as (one, two):
        server = one.popen([python, "-c", ANSWER], stdout=subprocess.PIPE)
        assert server.stdout.readline() == b"ready\n"
        assert output(two, python, "-c", ASK) == "one\n"
        one.down()
        assert "timed out" in output(two, python, "-c", ASK)
        one.up()
        assert output(two, python, "-c", ASK) == "one\n"
        output(one, "touch", tmp_path / "shared", "/tmp/private")
        assert output(two, "ls", tmp_path) == "shared\n"
        assert "private" not in output(two, "ls", "/tmp")
        two.kill()
        assert server.poll() is None
    # A server has a killed process as its last state.
    assert server.wait(timeout=5) < 0


@pytest.mark.cluster
def test_a_killed_host_takes_the_children_of_its_processes_along():
    with hosts.loopback(["one"]) as (one,):
        assert one.address == "127.0.0.1"
        shell = one.popen(
            ["sh", "-c", "sleep 1000 & echo $!; wait"], stdout=subprocess.PIPE
        )
        child = int(shell.stdout.readline())
        one.kill()
        end = time.monotonic() + 10
        while subprocess.run(["kill", "-0", str(child)]).returncode == 0:
            assert time.monotonic() < end
            time.sleep(0.05)
