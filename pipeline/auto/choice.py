"""One choice of `--config auto`, with its reason."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Choice:
    """One choice and its reason.

    Attributes:
      topic: what is chosen, in a word or two.
      summary: the choice, in a few words.
      reason: why, in one line.
      values: dotted config keys and their values.
    """

    topic: str
    summary: str
    reason: str
    values: dict[str, Any]
