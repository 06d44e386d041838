"""The base class of the REST and gRPC clients, with retries."""

import abc
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from stftgan_tf.errors import UserError

# Seconds between two attempts; the pause doubles each time.
_FIRST_PAUSE_SECS, _MAX_PAUSE_SECS = 0.1, 5.0

# A day: sockets do not accept an infinite timeout.
MAX_DEADLINE_SECS = 86400

_T = TypeVar("_T")


class ServerError(UserError):
    """An error that a server returned, or that replaces its response.

    Attributes:
      code: the name of a gRPC status code, such as INVALID_ARGUMENT.
    """

    def __init__(self, code: str, message: str):
        super().__init__(f"{code}: {message}")
        self.code = code


class Client(abc.ABC):
    """A model on a server; use `connect` to create one."""

    def __init__(
        self,
        server: str,
        model_name: str,
        model_version: int | None,
        deadline_secs: float,
        retry: bool,
    ):
        """Takes the arguments of `connect`."""
        self._server, self._model_name = server, model_name
        self._model_version = model_version
        self._deadline_secs, self._retry = deadline_secs, retry
        self._signatures: dict[str, set[str]] | None = None

    def sample(
        self,
        seeds: Sequence[int] | np.ndarray,
        label: int | None = None,
        truncation: float = 1.0,
        long: bool = False,
        outputs: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Generates one sample per seed.

        Args:
          seeds: non-negative seeds [B].
          label: the number of a label, for models trained with labels; -1
            or None draws labels at random.
          truncation: the scale of the latents, above 0.
          long: whether to generate several windows, joined by crossfades,
            instead of one; not possible with truncation.
          outputs: the outputs to return; all of them if empty.

        Returns:
          `audio` float32 [B, N], `wav_bytes` object [B], and unless `long`
          `window` float32 [B, T, F].

        Raises:
          UserError: if the model has no labels.
          ServerError: as for `predict`.
          ValueError: for long samples with a truncation other than 1.
        """
        if long and truncation != 1:
            raise ValueError("long samples cannot be truncated")
        signature = "serving_default"
        if long:
            signature = "long"
        elif truncation != 1:
            signature = "sample"
        inputs = {"seed": np.asarray(seeds, np.int64)}
        count, names = len(inputs["seed"]), self.input_names(signature)
        # TensorFlow Serving's REST API requires every input, also those with
        # a default.
        if "label" in names:
            inputs["label"] = np.full(count, -1 if label is None else label)
        elif label is not None:
            raise UserError(
                f"model {self._model_name} has no labels; train with "
                "model.condition label"
            )
        # Exports of earlier versions call it `psi`.
        for name in names & {"truncation", "psi"}:
            inputs[name] = np.full(count, truncation, np.float32)
        return self.predict(signature, inputs, outputs)

    def predict(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
          signature: the name of the signature.
          inputs: arrays by name, with one row per sample.
          outputs: the outputs to return; all of them if empty.

        Returns:
          Arrays by name; arrays of bytes have the dtype object.

        Raises:
          ServerError: if the server rejects the request, or is unavailable
            until the deadline.
        """

        def call(timeout: float) -> dict[str, np.ndarray]:
            return self._predict(signature, inputs, outputs, timeout)

        return self._call(call)

    def input_names(self, signature: str) -> set[str]:
        """The inputs of a signature, including optional ones.

        They are requested once: versions of a model have the same inputs.

        Raises:
          ServerError: as for `predict`, or if there is no such signature.
        """
        if self._signatures is None:
            self._signatures = self._call(self._input_names)
        signatures = self._signatures
        if signature not in signatures:
            raise ServerError(
                "FAILED_PRECONDITION",
                f"{self._model_name} has no signature {signature!r}; expected "
                f"one of {', '.join(sorted(signatures))}",
            )
        return signatures[signature]

    @abc.abstractmethod
    def close(self) -> None:
        """Disconnects."""

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _call(self, call: Callable[[float], _T]) -> _T:
        if self._retry:
            return call_until_available(call, self._deadline_secs)
        return call(self._deadline_secs)

    @abc.abstractmethod
    def _predict(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        timeout: float,
    ) -> dict[str, np.ndarray]:
        """Makes one attempt to run a signature."""

    @abc.abstractmethod
    def _input_names(self, timeout: float) -> dict[str, set[str]]:
        """Makes one attempt to get the names of the inputs by signature."""


def call_until_available(
    call: Callable[[float], _T], deadline_secs: float
) -> _T:
    """Calls a function until it does not raise UNAVAILABLE.

    Args:
      call: the function; its argument is the time left, in seconds.
      deadline_secs: the time after which to give up, in seconds.

    Raises:
      ServerError: the error of the last attempt.
    """
    end = time.monotonic() + deadline_secs
    pause = _FIRST_PAUSE_SECS
    while True:
        try:
            return call(max(0.001, end - time.monotonic()))
        except ServerError as error:
            # Jitter, so that many clients do not retry at the same moment.
            wait = random.uniform(pause / 2, pause)
            late = time.monotonic() + wait >= end
            if error.code != "UNAVAILABLE" or late:
                raise
        time.sleep(wait)
        pause = min(2 * pause, _MAX_PAUSE_SECS)
