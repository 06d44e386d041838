import pytest

from stftgan_tf.saved_model import loading

pytest.importorskip("tensorflow_serving")

from stftgan_tf.serving.model import warmup_requests  # noqa: E402


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
