"""One typed configuration for the pipeline, the training and the export."""

from stftgan_tf.config.schema import (
    JUDGEMENT_SECTIONS,
    MIN_EVALUATION_WINDOWS,
    AudioConfig,
    BlessConfig,
    Config,
    ConfigError,
    StftConfig,
    TrainConfig,
    ValidateConfig,
    add_arguments,
    completed,
    differences,
    find,
    from_dict,
    load,
    shipped,
)

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
    "find",
    "from_dict",
    "load",
    "shipped",
]
