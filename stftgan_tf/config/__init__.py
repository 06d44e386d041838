"""One typed configuration for the pipeline, the training and the export."""

from stftgan_tf.config.arguments import add_arguments, print_config
from stftgan_tf.config.loading import (
    complete_data_config,
    differences,
    from_dict,
    load,
    load_exported,
    load_saved,
    shipped_configs,
)
from stftgan_tf.config.schema import (
    ASSESSMENT_SECTIONS,
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
    "ASSESSMENT_SECTIONS",
    "MIN_EVALUATION_WINDOWS",
    "AudioConfig",
    "BlessConfig",
    "Config",
    "ConfigError",
    "StftConfig",
    "TrainConfig",
    "ValidateConfig",
    "add_arguments",
    "complete_data_config",
    "differences",
    "from_dict",
    "load",
    "load_exported",
    "load_saved",
    "print_config",
    "shipped_configs",
]
