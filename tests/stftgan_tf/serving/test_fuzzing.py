"""No request makes the server fail: mistakes of clients are 4xx."""

import json

import pytest
import requests

hypothesis = pytest.importorskip("hypothesis")
pytest.importorskip("starlette")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

NUMBERS = (
    st.integers()
    | st.integers(-3, 20)
    | st.floats()
    | st.sampled_from([2**63 - 1, 2**63, -(2**63), 1e400, -0.0])
)
TEXTS = st.text(max_size=5) | st.sampled_from(["\ud800", "b64", "", "=", "YQ"])
KEYS = (
    st.sampled_from(["seed", "seed_a", "seed_b", "weight", "latent", "b64"])
    | st.sampled_from(["truncation", "label", "cluster", "x"])
    | TEXTS
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=9) | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=12,
)
SIGNATURES = st.sampled_from(
    ["", "serving_default", "sample", "interpolate", "generate", "long", "x"]
)
# Mostly what the parser expects, so that the fuzz reaches what is behind it.
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": SIGNATURES | VALUES,
        "instances": st.lists(
            st.dictionaries(KEYS, VALUES, max_size=3) | VALUES, max_size=4
        )
        | VALUES,
        "inputs": st.dictionaries(KEYS, VALUES, max_size=4) | VALUES,
    },
)


@st.composite
def requests_bodies(draw):
    """JSON of any value, sometimes with a piece removed or replaced."""
    text = json.dumps(draw(BODIES | VALUES)).encode()
    if draw(st.booleans()):
        return text
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 5)))
    return text[:start] + draw(st.binary(max_size=3)) + text[end:]


PATHS = (
    st.sampled_from(["digits", "digits/versions/1", "digits/labels/x", "half"])
    | TEXTS
)


@pytest.fixture(scope="module")
def address(digits_server):
    return f"http://127.0.0.1:{digits_server.rest_api_port}"


@pytest.fixture(scope="module")
def session():
    with requests.Session() as session:
        yield session


def assert_answered(response):
    assert response.status_code < 500, response.text
    if response.status_code != 200:
        assert list(response.json()) == ["error"]


@pytest.mark.slow
@settings(
    max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck)
)
@given(body=requests_bodies())
def test_no_body_is_a_failure_of_the_server(address, session, body):
    assert_answered(session.post(f"{address}/v1/models/digits:predict", body))


@settings(max_examples=200, deadline=None)
@given(path=PATHS, verb=st.sampled_from(["", ":predict", "/metadata", ":x"]))
def test_no_path_is_a_failure_of_the_server(address, session, path, verb):
    path = requests.utils.quote(path.encode("utf-8", "replace"), safe="/:%")
    assert_answered(session.post(f"{address}/v1/models/{path}{verb}", "{}"))
    assert_answered(session.get(f"{address}/v1/models/{path}{verb}"))
