"""What the `auto` settings of a config mean on this machine."""

import dataclasses
from pathlib import Path

import tensorflow as tf

from stftgan_tf.config import Config

# Flags of processors that multiply bfloat16 in hardware: AMD from Zen 4, Intel
# from Cooper Lake (AVX-512) and Sapphire Rapids (AMX).
_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}

_CPUINFO = Path("/proc/cpuinfo")


def resolve_jit(config: Config) -> bool:
    """Whether `train.jit_compile` compiles the training step with XLA here.

    `auto` uses XLA on a GPU only: on a CPU it makes the double backward pass
    of these convolutions several times slower. XLA cannot compile a step that
    spans several devices.
    """
    setting = config.train.jit_compile
    if config.train.strategy != "none":
        return False
    if setting == "auto":
        return bool(tf.config.list_physical_devices("GPU"))
    return setting == "true"


def resolve_precision(config: Config) -> str:
    """Keras' name of the precision that `train.precision` means here.

    `auto` is `mixed_bfloat16` without a GPU, on a processor that multiplies
    bfloat16 in hardware; others would emulate it.
    """
    if config.train.precision != "auto":
        return config.train.precision
    if tf.config.list_physical_devices("GPU") or not _CPUINFO.exists():
        return "float32"
    if has_bfloat16(_CPUINFO.read_text(encoding="utf-8", errors="replace")):
        return "mixed_bfloat16"
    return "float32"


def has_bfloat16(cpuinfo: str) -> bool:
    """Whether a text like /proc/cpuinfo lists bfloat16 instructions."""
    return not _BFLOAT16_FLAGS.isdisjoint(cpuinfo.split())


def with_precision(config: Config, precision: str) -> Config:
    """The config with another `train.precision`."""
    train = dataclasses.replace(config.train, precision=precision)
    return dataclasses.replace(config, train=train)
