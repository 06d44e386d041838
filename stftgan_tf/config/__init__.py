"""One typed configuration for the pipeline, the training and the export."""

from stftgan_tf.config.arguments import add_arguments, print_config
from stftgan_tf.config.loading import (
    completed,
    differences,
    from_dict,
    load,
    load_saved,
    shipped,
)
from stftgan_tf.config.schema import (
    JUDGEMENT_SECTIONS,
    MIN_EVALUATION_WINDOWS,
    AudioConfig,
    BlessConfig,
    Config,
    StftConfig,
    TrainConfig,
    ValidateConfig,
)
from stftgan_tf.errors import ConfigError

__all__ = [
    "JUDGEMENT_SECTIONS",
    "MIN_EVALUATION_WINDOWS",
    "AudioConfig",
    "BlessConfig",
    "Config",
    "ConfigError",
    "StftConfig",
    "TrainConfig",
    "ValidateConfig",
    "add_arguments",
    "completed",
    "differences",
    "from_dict",
    "load",
    "load_saved",
    "print_config",
    "shipped",
]
