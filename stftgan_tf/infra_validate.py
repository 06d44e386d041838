"""Checks that a server can serve an export; exit code 1 if it cannot.

Loads the export with XLA disabled, as TensorFlow Serving does, replays its
warm-up requests, and checks that the outputs of every signature are finite,
deterministic and of the right shape, and that one sample is fast enough. If
tensorflow_model_server is on PATH or in $TF_MODEL_SERVER, it must also load the
export and generate the same audio.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

from stftgan_tf import cli
from stftgan_tf.errors import UsageError, UserError
from stftgan_tf.files import (
    DirectoryKind,
    published_dir,
    refuse_existing,
    stable_digest,
)

EXAMPLE = (
    "python -m stftgan_tf.infra_validate --model exports/digits "
    "--output infra/digits"
)

FILE, BLESSED, NOT_BLESSED = "infra.json", "INFRA_BLESSED", "INFRA_NOT_BLESSED"
VERDICT = DirectoryKind(FILE, (FILE, BLESSED, NOT_BLESSED), '"blessed"')


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return cli.run_command(_run, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__, EXAMPLE)
    cli.add_model(parser)
    parser.add_argument(
        "--max_latency_ms",
        type=float,
        metavar="MILLISECONDS",
        default=1000.0,
        help="maximum median time to generate one sample (default: "
        "%(default)g)",
    )
    cli.add_output(
        parser,
        "directory of the verdict: infra.json, and the empty file "
        "INFRA_BLESSED or INFRA_NOT_BLESSED (default: not written)",
    )
    return parser


def _run(args: argparse.Namespace) -> int:
    if not args.max_latency_ms > 0:
        raise UsageError(
            f"--max_latency_ms is {args.max_latency_ms:g}; expected above 0"
        )
    if args.output:
        # Fails before the validation, not after it.
        refuse_existing(args.output, VERDICT, overwrite=True)
    # Not at the top: TensorFlow takes seconds to load.
    from stftgan_tf.serving import validation

    server = os.environ.get("TF_MODEL_SERVER") or shutil.which(
        "tensorflow_model_server"
    )
    with stable_digest(args.model) as digest:
        problems = validation.check(args.model, args.max_latency_ms, server)
    if args.output:
        _write_verdict(args.output, problems, digest, server)
    if problems:
        raise UserError(f"{args.model} is not valid: {'; '.join(problems)}")
    print(BLESSED)
    return 0


def _write_verdict(
    output: Path, problems: list[str], digest: str, server: str | None
) -> None:
    import tensorflow as tf

    verdict = {
        "blessed": not problems,
        "problems": problems,
        "digest": digest,
        "tensorflow": tf.__version__,
        "server": server,
    }
    with published_dir(output, VERDICT, overwrite=True) as staging:
        text = json.dumps(verdict, indent=1) + "\n"
        (staging / FILE).write_text(text, encoding="utf-8")
        (staging / (NOT_BLESSED if problems else BLESSED)).touch()


if __name__ == "__main__":
    sys.exit(main())
