import pytest

from pipeline.quality import anomalies
from tests.pipeline.quality.alter import altered, labelled


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m, s: m.update(clipped_share=0.04), None),
        (lambda m, s: m.update(clipped_share=0.06), "level: 6.0 % of the"),
        (labelled(**{"n-1": 2}), None),
        (labelled(**{"n-1": 500}), "labels: "),
        (labelled(n3=0), "labels: no training window has the label 3"),
    ],
)
def test_a_value_above_its_limit_is_an_anomaly(
    shards, tmp_path, tiny, change, reason
):
    data = altered(shards, tmp_path / "data", change)
    lines = anomalies.find(*data, tiny).anomalies
    assert [line.startswith(reason) for line in lines] == [True] * bool(reason)
