"""The gRPC client; gRPC transfers only the requested outputs."""

import urllib.parse
from collections.abc import Callable
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from stftgan_tf.serving.client_base import Client, ServerError


class GrpcClient(Client):
    """A model on a server, called over gRPC."""

    def __init__(self, *args: Any):
        """Takes the arguments of `connect`."""
        super().__init__(*args)
        # The audio of a batch exceeds the default limit of 4 MB.
        options = [("grpc.max_receive_message_length", -1)]
        address = urllib.parse.urlsplit(self._server).netloc
        self._channel = grpc.insecure_channel(address, options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(
            self._channel
        )

    def close(self) -> None:
        """Disconnects."""
        self._channel.close()

    def _predict(self, signature, inputs, outputs, timeout):
        request = predict_pb2.PredictRequest()
        self._fill_model_spec(request.model_spec)
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        request.output_filter.extend(outputs)
        response = self._send(self._stub.Predict, request, timeout)
        return {n: tf.make_ndarray(v) for n, v in response.outputs.items()}

    def _input_names(self, timeout):
        request = get_model_metadata_pb2.GetModelMetadataRequest()
        self._fill_model_spec(request.model_spec)
        request.metadata_field.append("signature_def")
        response = self._send(self._stub.GetModelMetadata, request, timeout)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        return {
            name: set(signature.inputs)
            for name, signature in signatures.signature_def.items()
        }

    def _fill_model_spec(self, spec) -> None:
        spec.name = self._model_name
        if self._model_version is not None:
            spec.version.value = self._model_version

    def _send(self, method: Callable, request: Any, timeout: float) -> Any:
        try:
            return method(request, timeout=timeout)
        except grpc.RpcError as error:
            raise ServerError(error.code().name, error.details()) from error
