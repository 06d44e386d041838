import numpy as np
import pytest

from stftgan_tf.saved_model import loading

pytest.importorskip("tensorflow_serving")

from stftgan_tf.serving.errors import RequestError  # noqa: E402
from stftgan_tf.serving.model import ModelVersion, warmup_requests  # noqa: E402


def test_a_limit_below_the_batches_of_the_warm_up_is_enforced(export):
    model = ModelVersion(export, version=1, max_batch_size=8)
    outputs = model.run("serving_default", {"seed": np.arange(8)})
    assert len(outputs["audio"]) == 8
    with pytest.raises(RequestError, match="9 rows; expected 1 to 8"):
        model.run("serving_default", {"seed": np.arange(9)})
    model.close()


def test_warm_up_requests_cover_batch_sizes_and_signatures(export):
    sizes = {}
    for request in warmup_requests(export):
        name = request.model_spec.signature_name
        rows = {p.tensor_shape.dim[0].size for p in request.inputs.values()}
        assert len(rows) == 1
        sizes.setdefault(name, []).append(rows.pop())
    assert sizes.pop("serving_default") == [1, 2, 4, 8, 16, 32]
    others = set(loading.SIGNATURES) - {"serving_default"}
    assert sizes == {name: [1] for name in others}
