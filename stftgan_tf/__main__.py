"""The console script `stftgan`, which runs every command."""

import difflib
import importlib
import sys
from typing import NoReturn

from stftgan_tf import cli

# Command -> its module and a summary. A module is imported only when its
# command runs: importing all of them would load TensorFlow, Beam and TFX.
COMMANDS = {
    "preprocess": ("pipeline.preprocess", "cut recordings into a data set"),
    "inspect": ("pipeline.inspect", "describe, draw and verify a data set"),
    "validate": (
        "pipeline.validate",
        "check that a data set is fit to train on",
    ),
    "train": ("stftgan_tf.train", "train a GAN on a data set"),
    "export": ("stftgan_tf.export", "export a run as a SavedModel"),
    "sample": ("stftgan_tf.sample", "generate audio with an export"),
    "evaluate": ("stftgan_tf.evaluate", "compare an export with real windows"),
    "report": (
        "stftgan_tf.report",
        "write an HTML page about an evaluation",
    ),
    "infra_validate": (
        "stftgan_tf.infra_validate",
        "check that an export loads and answers fast enough",
    ),
    "push": ("pipeline.push", "publish a blessed export for serving"),
    "serve": ("stftgan_tf.serve", "serve exports over REST and gRPC"),
    "client": ("stftgan_tf.client", "generate audio on a server"),
    "run": ("pipeline.run", "run all steps, from recordings to push"),
    "tfx_pipeline": (
        "pipeline.tfx_pipeline",
        "run the training in TFX",
    ),
}


def run(argv: list[str]) -> int:
    """Runs the command that the first argument names; returns its exit code."""
    if not argv or argv[0] in ("-h", "--help"):
        print(_usage())
        return 0 if argv else 2
    name = argv[0].replace("-", "_")
    if name not in COMMANDS:
        nearest = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else "see --help"
        print(f"error: no command {argv[0]!r}; {hint}", file=sys.stderr)
        return 2
    return importlib.import_module(COMMANDS[name][0]).main(argv[1:])


def main() -> NoReturn:
    """The entry point of the console script."""
    cli.exit_process(run(sys.argv[1:]))


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [
        f"  {name:{width}}  {text}" for name, (_, text) in COMMANDS.items()
    ]
    return "\n".join(
        [
            f"usage: {cli.CONSOLE_SCRIPT} COMMAND [FLAGS]",
            "",
            "commands:",
            *lines,
            "",
            f"{cli.CONSOLE_SCRIPT} COMMAND --help describes a command.",
        ]
    )


if __name__ == "__main__":
    main()
