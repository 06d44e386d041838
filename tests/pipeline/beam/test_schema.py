import numpy as np
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from pipeline.beam import schema


def test_the_schema_has_shapes_and_domains(tiny):
    text = schema.schema(tiny, ["no", "yes"])
    message = text_format.Parse(text, schema_pb2.Schema())
    named = {feature.name: feature for feature in message.feature}
    assert [d.size for d in named["window"].shape.dim] == [16, 32]
    assert named["window"].float_domain.min == np.float32(tiny.log_floor)
    assert named["window"].type == schema_pb2.FLOAT
    label = named["label"].int_domain
    assert (label.min, label.max, label.is_categorical) == (-1, 1, True)
    assert named["speaker"].type == schema_pb2.BYTES
