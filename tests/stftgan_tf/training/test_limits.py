import pytest

from stftgan_tf import config as config_lib
from stftgan_tf.errors import UsageError
from stftgan_tf.training.limits import Limits, limits_of


def test_steps_come_from_the_config_by_default(tiny):
    assert limits_of(tiny) == Limits(20)
    assert limits_of(tiny, 7, 1.5) == Limits(7, 1.5)


def test_whichever_limit_comes_first_ends_the_training():
    limits = Limits(10, minutes=1.0)
    assert not limits.reached(9, 59.9)
    assert limits.reached(10, 0.0)
    assert limits.reached(1, 60.0)


@pytest.mark.parametrize(
    ("overrides", "steps", "minutes", "message"),
    [
        ([], 0, None, "steps is 0; expected above 0"),
        ([], None, -1.0, "minutes is -1.0; expected above 0"),
        (
            ["train.steps_per_execution=5"],
            7,
            None,
            r"steps is 7; expected a multiple of .* \(5\)",
        ),
        (
            ["train.strategy=multiworker"],
            None,
            1.0,
            "minutes cannot limit a training with several workers",
        ),
    ],
)
def test_unsuitable_limits_are_refused(overrides, steps, minutes, message):
    config = config_lib.load("tiny", overrides)
    with pytest.raises(UsageError, match=message):
        limits_of(config, steps, minutes)
