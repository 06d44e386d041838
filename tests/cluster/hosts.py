"""Hosts on this machine, for tests with several of them.

`namespaces` gives each host its own network namespace, address, host name and
/tmp; a bridge joins them, and this process is on it too. Only root can do that.
`loopback` runs processes in the same way without isolation.

    with namespaces(["one", "two"], shared=tmp_path) as (one, two):
        server = one.popen(["python", "-m", "http.server", "8000"])
        two.down()  # pulls the cable out of the bridge
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Seconds that a command of `ip` may take.
_TIMEOUT_SECS = 20

# Runs a command with the name, the host table and the /tmp of a host: NAME,
# DIRECTORY (which contains hosts and tmp), what it sees of /tmp, --, COMMAND...
_ENTER = """
set -e
name=$1 own=$2
shift 2
echo "$name" >/proc/sys/kernel/hostname
mount --bind "$own/hosts" /etc/hosts
# Linux gives up a connection to a silent host after 25 s instead of 15 minutes.
echo 6 >/proc/sys/net/ipv4/tcp_retries2
while [ "$1" != -- ]; do
  mkdir -p "$own$1"
  mount --bind "$1" "$own$1"
  shift
done
shift
mount --rbind "$own/tmp" /tmp
exec "$@"
"""


class Host:
    """A place where processes run: this machine, under its own address."""

    def __init__(self, name: str, address: str):
        """Starts nothing.

        Args:
          name: of the host.
          address: IPv4 address that the other hosts reach it at.
        """
        self.name, self.address = name, address
        self._processes: list[subprocess.Popen] = []

    def popen(self, command: Sequence, **kwargs) -> subprocess.Popen:
        """Starts a process, in its own process group.

        Args:
          command: of the process.
          **kwargs: as for `subprocess.Popen`.
        """
        process = subprocess.Popen(
            [*self._prefix(), *map(str, command)],
            start_new_session=True,
            **kwargs,
        )
        self._processes.append(process)
        return process

    def kill(self) -> None:
        """Kills all processes of the host at once, with their children."""
        for process in self._processes:
            # The group can outlive its first process.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for process in self._processes:
            process.wait(timeout=_TIMEOUT_SECS)
        self._processes.clear()

    def _prefix(self) -> list[str]:
        return []


class Namespace(Host):
    """A network namespace, whose cable ends at a bridge."""

    def __init__(self, name: str, address: str, directory: Path, shared: Path):
        super().__init__(name, address)
        self._directory = directory
        # The project and its environment may be below /tmp, too.
        seen = {shared, ROOT, Path(sys.prefix)}
        self._seen = [path for path in seen if path.is_relative_to("/tmp")]
        self.namespace = f"{directory.parent.name}-{name}"
        # Linux allows 15 characters for the name of a device.
        self.port = f"p{address.split('.', 2)[2]}"

    def down(self) -> None:
        """Cuts the link to all other hosts."""
        _ip(f"link set {self.port} down")

    def up(self) -> None:
        """Restores the link."""
        _ip(f"link set {self.port} up")

    def _prefix(self) -> list[str]:
        script = ["sh", "-c", _ENTER, "sh", self.name, self._directory]
        enter = ["nsenter", f"--net=/run/netns/{self.namespace}"]
        unshare = ["unshare", "--mount", "--uts"]
        tmp = ["env", "TMPDIR=/tmp"]
        return [
            str(word)
            for word in [*enter, *unshare, *script, *self._seen, "--", *tmp]
        ]


@contextlib.contextmanager
def loopback(names: Sequence[str]) -> Iterator[list[Host]]:
    """Hosts at 127.0.0.1, 127.0.0.2 and so on; kills what they still run."""
    hosts = [Host(name, f"127.0.0.{i}") for i, name in enumerate(names, 1)]
    try:
        yield hosts
    finally:
        _kill(hosts)


@contextlib.contextmanager
def namespaces(names: Sequence[str], shared: Path) -> Iterator[list[Namespace]]:
    """Hosts in network namespaces; removes them with all they still run.

    Skips the test where this process may not create namespaces.

    Args:
      names: of the hosts; each resolves to its host on all of them.
      shared: directory that all hosts see; the rest of /tmp is private.
    """
    if os.geteuid():
        pytest.skip("only root can create network namespaces")
    subnet = _free_subnet()
    bridge = f"b{subnet}"
    with contextlib.ExitStack() as stack:
        root = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="hosts-"))
        )
        _try_ip(f"link add {bridge} type bridge")
        stack.callback(_ip, f"link del {bridge}")
        _ip(f"addr add {subnet}.1/24 dev {bridge}")
        _ip(f"link set {bridge} up")
        hosts = [
            Namespace(name, f"{subnet}.{i}", root / name, shared.resolve())
            for i, name in enumerate(names, 2)
        ]
        table = [f"{host.address} {host.name}\n" for host in hosts]
        for host in hosts:
            (root / host.name / "tmp").mkdir(parents=True)
            lines = ["127.0.0.1 localhost\n", *table]
            (root / host.name / "hosts").write_text("".join(lines))
            stack.enter_context(_connected(host, bridge))
        stack.callback(_kill, hosts)
        yield list(hosts)


def free_port() -> int:
    """A port that is free at all addresses of this machine."""
    with socket.socket() as free:
        free.bind(("", 0))
        return free.getsockname()[1]


def _free_subnet() -> str:
    """The start of a subnet that no other test uses, such as 198.18.7."""
    # The range for tests of networks (RFC 2544).
    numbers = [(os.getpid() + i) % 256 for i in range(256)]
    return next(
        subnet
        for subnet in (f"198.18.{number}" for number in numbers)
        if not Path(f"/sys/class/net/b{subnet}").exists()
    )


@contextlib.contextmanager
def _connected(host: Namespace, bridge: str) -> Iterator[None]:
    """The namespace of a host, with a cable to the bridge."""
    name = host.namespace
    _ip(f"netns add {name}")
    try:
        _ip(f"link add {host.port} type veth peer name eth0 netns {name}")
        try:
            _ip(f"link set {host.port} master {bridge}")
            _ip(f"-n {name} addr add {host.address}/24 dev eth0")
            _ip(f"-n {name} link set lo up")
            _ip(f"-n {name} link set eth0 up")
            host.up()
            yield
        finally:
            # The end of the namespace would remove it too, but only later.
            _ip(f"link del {host.port}")
    finally:
        _ip(f"netns del {name}")


def _kill(hosts: Sequence[Host]) -> None:
    for host in hosts:
        host.kill()


def _try_ip(arguments: str) -> None:
    try:
        _ip(arguments)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or error
        pytest.skip(f"cannot create network namespaces: {reason}")


def _ip(arguments: str) -> None:
    subprocess.run(
        ["ip", *arguments.split()],
        check=True,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECS,
    )
