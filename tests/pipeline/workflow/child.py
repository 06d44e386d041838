"""A command for tests: prints, writes, waits and fails as its flags say."""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

from pipeline.workflow import run_state
from stftgan_tf import run_files


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
    parser.add_argument("--variable")
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--secs", type=float, default=1.0)
    args = parser.parse_args()
    for line in args.print:
        print(line)
    if args.variable:
        print(os.environ[args.variable])
    if args.kill:
        os.kill(os.getpid(), signal.SIGKILL)
    for line in args.stderr:
        print(line, file=sys.stderr)
    if args.output:
        args.output.mkdir(parents=True, exist_ok=True)
    if args.steps:
        train(args.output, args.steps, args.secs)
    if args.record:
        args.record.parent.mkdir(parents=True, exist_ok=True)
        record = {"inputs": json.loads(args.inputs)}
        args.record.write_text(json.dumps(record))
    if args.terminal:
        print(f"terminal: {sys.stderr.isatty()}", file=sys.stderr)
    if args.wait:
        wait()
    return args.code


def train(run, step, secs):
    """Leaves the files of a training that ends at a step, if it trains."""
    state = run_state.read(run)
    if state and state.step >= step:
        return
    run_files.add_session(run, state.step if state else 0, "data")
    checkpoint(run, step, secs)


def checkpoint(run, step, secs=1.0, weights="weights"):
    path = run / "checkpoints" / f"step-{step:08d}"
    path.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"step": step, "secs": secs})
    (path / "state.json").write_text(text)
    (path / "weights.index").write_text(f"{weights} at {step}")


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
