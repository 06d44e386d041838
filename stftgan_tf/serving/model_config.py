"""Which models to serve, and which of their versions.

`read` reads the file of `--model_config_file`, a ModelServerConfig of
TensorFlow Serving as text.
"""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stftgan_tf.errors import ConfigError

_LOG = logging.getLogger(__name__)


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


def read(path: Path) -> dict[str, ModelConfig]:
    """Reads the models by name from a ModelServerConfig in text form.

    Raises:
      OSError: if the file cannot be read.
      ConfigError: if it contains something that cannot be served.
    """
    # Not at the top: not every process that reads options needs them.
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    message = model_server_config_pb2.ModelServerConfig()
    try:
        text_format.Parse(path.read_text(encoding="utf-8"), message)
        return _models(message)
    except (text_format.ParseError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _models(message: Any) -> dict[str, ModelConfig]:
    if message.HasField("custom_model_config"):
        raise ValueError("custom_model_config is not supported")
    models = {}
    for config in message.model_config_list.config:
        if config.name in models:
            raise ValueError(f"two models are called {config.name!r}")
        try:
            models[config.name] = _model(config)
        except ValueError as error:
            raise ValueError(f"model {config.name!r}: {error}") from error
    if not models:
        raise ValueError("expected a model_config_list with at least one model")
    return models


def _model(config: Any) -> ModelConfig:
    if config.model_platform not in ("", "tensorflow"):
        raise ValueError(
            f"model_platform is {config.model_platform!r}; expected "
            "'tensorflow'"
        )
    if not config.base_path or "://" in config.base_path:
        raise ValueError(
            f"base_path is {config.base_path!r}; expected a local directory"
        )
    if config.HasField("logging_config"):
        _LOG.warning(
            "logging_config of model %s has no effect here: requests are not "
            "logged",
            config.name,
        )
    policy = _policy(config.model_version_policy)
    return ModelConfig(
        Path(config.base_path), policy, dict(config.version_labels)
    )


def _policy(policy: Any) -> VersionPolicy:
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return VersionPolicy(latest=None)
    if choice == "specific":
        if not policy.specific.versions:
            raise ValueError("specific names no versions")
        return VersionPolicy(None, frozenset(policy.specific.versions))
    # As in TensorFlow Serving, 0 counts as 1.
    return VersionPolicy(max(1, policy.latest.num_versions))
