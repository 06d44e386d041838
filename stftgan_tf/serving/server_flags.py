"""Flags of tensorflow_model_server that the local server does not need."""

import argparse
import logging

from stftgan_tf.errors import UsageError

_LOG = logging.getLogger(__name__)

_ONE_BY_ONE = "requests run one by one; send several rows in a request"
_BY_TENSORFLOW = "set TF_NUM_INTRAOP_THREADS and TF_NUM_INTEROP_THREADS"
_RETRIES = "a version is loaded again when its files have changed"
_THREADS = "each version loads in its own thread"
_LABELS = "labels of versions that are not available are always allowed"

# Why a flag has no effect here, and what to use instead.
WITHOUT_EFFECT = {
    "enable_batching": _ONE_BY_ONE,
    "batching_parameters_file": _ONE_BY_ONE,
    "enable_per_model_batching_parameters": _ONE_BY_ONE,
    "monitoring_config_file": "metrics are always at "
    "/monitoring/prometheus/metrics",
    "rest_api_num_threads": "--max_running and --max_waiting limit requests",
    "grpc_max_threads": "--max_running and --max_waiting limit requests",
    "rest_api_enable_cors_support": "REST answers preflight requests, and "
    "allows no other origin",
    "enable_grpc_healthcheck_service": "the health service is always on",
    "max_num_load_retries": _RETRIES,
    "load_retry_interval_micros": _RETRIES,
    "num_load_threads": _THREADS,
    "num_unload_threads": _THREADS,
    "allow_version_labels_for_unavailable_models": _LABELS,
    "force_allow_any_version_labels_for_unavailable_models": _LABELS,
    "tensorflow_session_parallelism": _BY_TENSORFLOW,
    "tensorflow_intra_op_parallelism": _BY_TENSORFLOW,
    "tensorflow_inter_op_parallelism": _BY_TENSORFLOW,
    "per_process_gpu_memory_fraction": "set TF_FORCE_GPU_ALLOW_GROWTH",
    "flush_filesystem_caches": "files are read once",
    "enable_serialization_as_tensor_content": "values are in the field of "
    "their type, as by default",
    "num_request_iterations_for_warmup": "each warm-up request runs once",
}

# Without these the server would be open, or serve something else.
REFUSED = {
    "ssl_config_file": "use a proxy that speaks TLS",
    "use_alts_credentials": "use a proxy that authenticates clients",
    "platform_config_file": "only SavedModels with the tag `serve` are served",
    "saved_model_tags": "only SavedModels with the tag `serve` are served",
}


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the flags, which the help does not show."""
    for name in (*WITHOUT_EFFECT, *REFUSED):
        parser.add_argument(
            f"--{name}", nargs="?", const="true", help=argparse.SUPPRESS
        )


def check(args: argparse.Namespace) -> None:
    """Warns of flags without effect, in a line each.

    Raises:
      UsageError: if a flag must not be ignored.
    """
    values = vars(args)
    for name, reason in REFUSED.items():
        # Unit files also contain flags with their default values.
        if values[name] not in (None, "", "false", "serve"):
            raise UsageError(f"--{name} is not supported; {reason}")
    for name, reason in WITHOUT_EFFECT.items():
        if values[name] is not None:
            warn(name, reason)


def warn(name: str, reason: str) -> None:
    """Logs that a flag has no effect, and why."""
    # The log limits lines that differ in their arguments only.
    _LOG.warning(f"--{name} has no effect here: {reason}")
