"""A command for tests: prints, writes, waits and fails as its flags say."""

import argparse
import json
import signal
import sys
import time
from pathlib import Path


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--print", action="append", default=[])
    parser.add_argument("--stderr", action="append", default=[])
    parser.add_argument("--output", type=Path)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--inputs", default="{}")
    parser.add_argument("--wait", action="store_true")
    parser.add_argument("--terminal", action="store_true")
    parser.add_argument("--token")
    parser.add_argument("--code", type=int, default=0)
    args = parser.parse_args()
    for line in args.print:
        print(line)
    for line in args.stderr:
        print(line, file=sys.stderr)
    if args.output:
        args.output.mkdir(parents=True, exist_ok=True)
    if args.record:
        args.record.parent.mkdir(parents=True, exist_ok=True)
        record = {"inputs": json.loads(args.inputs)}
        args.record.write_text(json.dumps(record))
    if args.terminal:
        print(f"terminal: {sys.stderr.isatty()}", file=sys.stderr)
    if args.wait:
        wait()
    return args.code


def wait():
    """Until a signal; then it ends as an interrupted training does."""

    def end(number, _):
        print(f"signal {number}")
        sys.exit(130)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    print("waiting", flush=True)
    time.sleep(60)


if __name__ == "__main__":
    sys.exit(main())
