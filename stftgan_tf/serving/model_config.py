"""Which models to serve, and which of their versions.

`read` reads the file of `--model_config_file`, a ModelServerConfig of
TensorFlow Serving as text.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class VersionPolicy:
    """Which versions of a model are served.

    Attributes:
      latest: how many versions at most, newest first; None for all.
      versions: the only versions that may be served; None for any.
    """

    latest: int | None = 1
    versions: frozenset[int] | None = None


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A model, its versions and their labels.

    Attributes:
      base_path: an export, or a directory with one directory per version.
      policy: which versions are served.
      labels: versions by the labels that requests may use instead.
    """

    base_path: Path
    policy: VersionPolicy = VersionPolicy()
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)
