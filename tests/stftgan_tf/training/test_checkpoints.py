import shutil

import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf import config as config_lib
from stftgan_tf import train
from stftgan_tf.errors import UserError
from stftgan_tf.models import networks
from stftgan_tf.training import checkpoints
from stftgan_tf.training.checkpoints import State


@pytest.fixture(scope="module")
def model(tiny):
    model = train.build(tiny)
    model.train_step((tf.zeros([8, 16, 32]), tf.zeros([8], tf.int64)))
    return model


def state(model):
    return model.get_weights() + [
        np.array(v)
        for optimizer in (model.critic_optimizer, model.generator_optimizer)
        for v in optimizer.variables
    ]


def same(ours, theirs):
    return all(map(np.array_equal, ours, theirs))


def test_everything_comes_back(model, tiny, tmp_path):
    checkpoints.save(tmp_path, model, State(1, 2.5), keep=2)
    fresh = train.build(tiny)
    assert not same(state(fresh), state(model))
    assert checkpoints.restore_newest(tmp_path, fresh) == State(1, 2.5)
    assert len(state(fresh)) == len(state(model))
    assert same(state(fresh), state(model))


def test_only_the_newest_are_kept(model, tmp_path):
    for step in (5, 10, 200):
        checkpoints.save(tmp_path, model, State(step, 0.0), keep=2)
    names = [p.name for p in checkpoints.newest_first(tmp_path)]
    assert names == ["step-00000200", "step-00000010"]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_fresh_run_starts_at_zero(tiny, tmp_path):
    assert checkpoints.restore_newest(tmp_path, train.build(tiny)) == State()


@pytest.mark.parametrize(
    "name", ["weights.data-00000-of-00001", "weights.index"]
)
@pytest.mark.parametrize("damage", ["cut", "missing", "altered"])
def test_a_damaged_newest_one_falls_back(
    model, tiny, tmp_path, caplog, name, damage
):
    for step in (1, 2):
        checkpoints.save(tmp_path, model, State(step, 0.0), keep=2)
    file = tmp_path / "step-00000002" / name
    data = file.read_bytes()
    file.unlink()
    if damage == "cut":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "altered":
        middle = len(data) // 2
        byte = bytes([data[middle] ^ 1])
        file.write_bytes(data[:middle] + byte + data[middle + 1 :])
    fresh = train.build(tiny)
    assert checkpoints.restore_newest(tmp_path, fresh) == State(1)
    assert same(state(fresh), state(model))
    assert "step-00000002 is damaged" in caplog.text


def test_a_damaged_one_costs_no_good_one(model, tiny, tmp_path):
    for step in (10, 20):
        checkpoints.save(tmp_path, model, State(step), keep=2)
    (tmp_path / "step-00000020" / "weights.index").unlink()
    fresh = train.build(tiny)
    assert checkpoints.restore_newest(tmp_path, fresh).step == 10
    path = checkpoints.save(tmp_path, fresh, State(15), keep=1)
    assert names(tmp_path) == [path.name] == ["step-00000015"]


def test_the_best_one_is_gone_on_with_where_no_other_can_be_read(
    model, tiny, tmp_path
):
    checkpoints.save_best(tmp_path, model, State(5))
    checkpoints.save(tmp_path, model, State(10), keep=2)
    (tmp_path / "step-00000010" / "weights.index").unlink()
    fresh = train.build(tiny)
    assert checkpoints.restore_newest(tmp_path, fresh).step == 5
    assert same(state(fresh), state(model))


def test_a_copy_that_somebody_made_is_left_alone(model, tiny, tmp_path):
    path = checkpoints.save(tmp_path, model, State(1), keep=1)
    shutil.copytree(path, tmp_path / "step-00000009-copy")
    assert checkpoints.restore_newest(tmp_path, train.build(tiny)).step == 1
    checkpoints.save(tmp_path, model, State(2), keep=1)
    assert names(tmp_path) == ["step-00000002", "step-00000009-copy"]


def test_only_damaged_ones_are_an_error(model, tiny, tmp_path):
    checkpoints.save(tmp_path, model, State(1, 0.0), keep=2)
    (tmp_path / "step-00000001" / "state.json").unlink()
    with pytest.raises(UserError, match="no checkpoint that can be read"):
        checkpoints.restore_newest(tmp_path, train.build(tiny))


def test_those_of_other_networks_are_told_apart(model, tmp_path, caplog):
    checkpoints.save(tmp_path, model, State(1, 0.0), keep=2)
    deeper = networks.build_generator(
        config_lib.load("tiny", ["model.num_downsamples=3"])
    )
    with pytest.raises(UserError, match="no checkpoint that can be read"):
        checkpoints.restore_average(tmp_path, deeper)
    assert "of other networks" in caplog.text
    assert "damaged" not in caplog.text


def test_the_export_gets_the_average(model, tiny, tmp_path):
    checkpoints.save(tmp_path, model, State(1, 0.0), keep=2)
    generator = networks.build_generator(tiny)
    checkpoints.restore_average(tmp_path, generator)
    assert same(generator.get_weights(), model.ema_generator.get_weights())
    assert not same(generator.get_weights(), model.generator.get_weights())


def test_an_export_without_a_checkpoint_is_refused(tiny, tmp_path):
    with pytest.raises(UserError, match="holds no checkpoint"):
        checkpoints.restore_average(tmp_path, networks.build_generator(tiny))


def saved(folder, model, step, alarms=0, keep=2):
    state = State(step, 0.0, {"alarms": alarms, "seen": {"step": step}})
    return checkpoints.save(folder, model, state, keep)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_the_newest_healthy_one_is_never_removed(model, tmp_path):
    for step, alarms in ((1, 0), (2, 1), (3, 2), (4, 3)):
        saved(tmp_path, model, step, alarms)
    assert names(tmp_path) == [f"step-0000000{n}" for n in (1, 3, 4)]
    saved(tmp_path, model, 5)
    assert names(tmp_path) == [f"step-0000000{n}" for n in (4, 5)]


def test_the_tenth_rollback_is_newer_than_the_second(tmp_path):
    for name in ("step-00000500-r2", "step-00000500-r10", "step-00000500"):
        (tmp_path / name).mkdir()
    found = [path.name for path in checkpoints.newest_first(tmp_path)]
    assert found == ["step-00000500-r10", "step-00000500-r2", "step-00000500"]


def test_going_back_removes_what_came_after(model, tiny, tmp_path):
    for step, alarms in ((1, 0), (2, 1), (3, 2)):
        saved(tmp_path, model, step, alarms)
    checkpoints.save_best(tmp_path, model, State(1))
    fresh = train.build(tiny)
    assert checkpoints.restore_healthy(tmp_path, fresh).step == 1
    saved(tmp_path, fresh, 1)
    assert same(state(fresh), state(model))
    assert names(tmp_path) == ["best-00000001", "step-00000001"]


def test_one_saved_between_two_watches_is_not_known_to_be_healthy(
    model, tiny, tmp_path
):
    saved(tmp_path, model, 10)
    state = State(12, 0.0, {"alarms": 0, "seen": {"step": 10}})
    checkpoints.save(tmp_path, model, state, keep=2)
    checkpoints.save(tmp_path, model, State(14), keep=2)
    assert checkpoints.restore_healthy(tmp_path, train.build(tiny)).step == 10
    saved(tmp_path, model, 10)
    assert names(tmp_path) == ["step-00000010"]


def test_the_best_one_is_gone_back_to_where_no_other_is_healthy(
    model, tiny, tmp_path
):
    checkpoints.save_best(tmp_path, model, State(5))
    saved(tmp_path, model, 10, alarms=1)
    fresh = train.build(tiny)
    assert checkpoints.restore_healthy(tmp_path, fresh).step == 5
    assert same(state(fresh), state(model))
    saved(tmp_path, fresh, 5)
    assert names(tmp_path) == ["best-00000005", "step-00000005"]


def test_without_a_healthy_one_there_is_no_going_back(model, tiny, tmp_path):
    saved(tmp_path, model, 1, alarms=1)
    assert checkpoints.restore_healthy(tmp_path, train.build(tiny)) is None
    assert names(tmp_path) == ["step-00000001"]


def test_after_a_rollback_names_are_others_and_newer(tiny, tmp_path):
    model = train.build(tiny)
    saved(tmp_path, model, 1)
    model.go_another_way(1)
    path = saved(tmp_path, model, 1)
    assert path.name == "step-00000001-r1"
    assert checkpoints.newest_first(tmp_path)[0] == path
    fresh = train.build(tiny)
    checkpoints.restore_newest(tmp_path, fresh)
    assert int(fresh.rollbacks) == 1
    assert float(fresh.critic_optimizer.learning_rate) == pytest.approx(1e-4)


def test_the_export_takes_the_best_and_else_the_newest(model, tiny, tmp_path):
    for step in (1, 2):
        saved(tmp_path, model, step)
    best = checkpoints.save_best(tmp_path, model, State(1))
    generator = networks.build_generator(tiny)
    assert checkpoints.restore_average(tmp_path, generator).step == 1
    (best / "weights.index").unlink()
    assert checkpoints.restore_average(tmp_path, generator).step == 2


def test_the_best_of_an_end_that_is_none_any_more_is_gone(model, tmp_path):
    checkpoints.save_best(tmp_path, model, State(10))
    checkpoints.save_best(tmp_path, model, State(15), last=True)
    assert names(tmp_path) == ["best-00000010", "last-00000015"]
    checkpoints.save_best(tmp_path, model, State(20))
    assert names(tmp_path) == ["best-00000020"]


def test_nothing_is_half_removed_under_its_name(model, tmp_path, monkeypatch):
    removed, remove = [], shutil.rmtree

    def told(path, **more):
        removed.append(path.name)
        remove(path, **more)

    monkeypatch.setattr(shutil, "rmtree", told)
    for step in (1, 2, 2, 3):
        checkpoints.save(tmp_path, model, State(step), keep=1)
        checkpoints.save_best(tmp_path, model, State(step))
    assert names(tmp_path) == ["best-00000003", "step-00000003"]
    assert {name.split("-")[0] for name in removed} == {".incomplete"}
    assert len(removed) > 4


def test_there_is_one_best(model, tmp_path):
    for step in (1, 2):
        checkpoints.save_best(tmp_path, model, State(step))
    assert names(tmp_path) == ["best-00000002"]
