import pytest

from stftgan_tf.errors import UsageError
from stftgan_tf.saved_model import wav_stream
from stftgan_tf.saved_model.request import SampleRequest


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num": 0}, "--num is 0; expected 1 to 1000000"),
        ({"num": 1, "interpolate": (1, 2)}, "--num is 1; expected 2 to"),
        ({"seed": -1}, "--seed is -1; expected 0 to"),
        ({"seed": 2**63 - 16}, "--seed is"),
        ({"interpolate": (1, -2)}, "--interpolate is -2; expected 0 to"),
        ({"truncation": 0.0}, "--truncation is 0.0; expected above 0"),
        ({"truncation": float("inf")}, "is inf; expected above 0, at most 100"),
        (
            {"truncation": 0.5, "interpolate": (1, 2)},
            "--interpolate and --truncation cannot be combined",
        ),
        (
            {"phase": "pghi", "secs": 1.0},
            "--phase pghi and --secs cannot be combined",
        ),
    ],
)
def test_impossible_requests_are_refused(values, message):
    with pytest.raises(UsageError, match=message):
        SampleRequest(**values).check()


def test_the_largest_seeds_are_accepted_and_larger_ones_refused():
    SampleRequest(seed=2**63 - 17, num=16).check()
    with pytest.raises(UsageError, match="--seed is"):
        SampleRequest(seed=2**63 - 16, num=16).check()
    SampleRequest(interpolate=(0, 2**63 - 1)).check()
    with pytest.raises(UsageError, match="--interpolate is"):
        SampleRequest(interpolate=(0, 2**63)).check()


def test_a_wav_has_a_largest_size():
    most = (2**32 - 37) // 2
    wav_stream.check_size(most)
    with pytest.raises(UsageError, match="a WAV contains at most"):
        wav_stream.check_size(most + 1)
