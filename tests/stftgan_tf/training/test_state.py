from stftgan_tf.training import state
from stftgan_tf.training.state import State, WatchState


def test_a_state_survives_json():
    watch = WatchState(1, 5.0, 10, {"variety": 0.5})
    original = State(10, 2.5, watch)
    assert state.from_dict(state.to_dict(original)) == original


def test_metrics_belong_to_the_step_that_was_measured():
    watch = WatchState(step=10, metrics={"variety": 0.5})
    assert State(10, 0.0, watch).metrics == {"variety": 0.5}
    assert State(12, 0.0, watch).metrics == {}


def test_a_state_of_an_earlier_version_is_read():
    seen = {"step": 20, "variety": 0.8, "frechet": 107.0}
    watch = {"alarms": 1, "rollbacks": 2, "best_frechet": 99.0, "seen": seen}
    restored = state.from_dict({"step": 20, "secs": 1.5, "watch": watch})
    assert restored.watch.alarms == 1
    assert restored.watch.best_frechet == 99.0
    assert restored.metrics == {"variety": 0.8, "frechet": 107.0}
    # Before the first measurement, and before the first watch.
    watch = {"alarms": 0, "rollbacks": 0, "best_frechet": None, "seen": {}}
    for stored in (watch, {}):
        restored = state.from_dict({"step": 3, "secs": 0.0, "watch": stored})
        assert restored == State(3)
