import signal
import types

import pytest

from stftgan_tf.training import budget as budget_lib
from stftgan_tf.training.budget import Budget, stopped_by_signals
from stftgan_tf.training.limits import Limits


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test advances."""
    clock = types.SimpleNamespace(now=100.0)
    fake = types.SimpleNamespace(monotonic=lambda: clock.now)
    monkeypatch.setattr(budget_lib, "time", fake)
    return clock


def with_model(budget):
    budget.set_model(types.SimpleNamespace(stop_training=False))
    return budget


def test_totals_include_what_was_trained_before(clock):
    budget = with_model(Budget(7, 50.0, Limits(10, minutes=1.0)))
    clock.now += 5
    budget.on_train_batch_end(0)
    assert (budget.step, budget.secs) == (8, 55.0)
    assert not budget.model.stop_training
    clock.now += 5
    # The fourth step of an execution of several.
    budget.on_train_batch_end(3)
    assert (budget.step, budget.secs) == (11, 60.0)
    assert budget.model.stop_training
    assert budget.stop_reason == budget_lib.TIME_LIMIT
    assert budget.remaining_secs() == 0.0


def test_the_remaining_time_is_that_of_the_nearer_limit(clock):
    by_steps = Budget(10, 50.0, Limits(40))
    by_time = Budget(10, 50.0, Limits(40, minutes=1.0))
    assert by_steps.remaining_secs() == float("inf")
    clock.now += 5.0
    by_steps.step = by_time.step = 20
    assert by_steps.remaining_secs() == pytest.approx(10.0)
    assert by_time.remaining_secs() == pytest.approx(5.0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step_and_a_second_one_at_once(number):
    budget = with_model(Budget(0, 0.0, Limits(10)))
    handler = signal.getsignal(number)
    with stopped_by_signals(budget):
        signal.raise_signal(number)
        assert budget.interrupted and budget.model.stop_training
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is handler


def test_a_signal_before_the_first_step_stops_the_training():
    budget = Budget(0, 0.0, Limits(10))
    budget.stop(budget_lib.INTERRUPTED)
    with_model(budget).on_train_begin()
    assert budget.model.stop_training
