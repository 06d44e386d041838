import shutil

import numpy as np
import pytest
import tensorflow as tf

from stftgan_tf import config as config_lib
from stftgan_tf.errors import UserError
from stftgan_tf.models import networks
from stftgan_tf.models.build import build_wgan
from stftgan_tf.training import checkpoints
from stftgan_tf.training.state import State, WatchState


@pytest.fixture(scope="module")
def model(tiny):
    model = build_wgan(tiny)
    model.train_step((tf.zeros([8, 16, 32]), tf.zeros([8], tf.int64)))
    return model


@pytest.fixture
def fresh(tiny):
    return build_wgan(tiny)


def values(model):
    """Weights of the networks and the optimizers."""
    return model.get_weights() + [
        np.array(v)
        for optimizer in (model.critic_optimizer, model.generator_optimizer)
        for v in optimizer.variables
    ]


def equal(left, right):
    return all(map(np.array_equal, left, right))


def names(directory):
    return sorted(p.name for p in directory.iterdir())


def test_everything_is_restored(model, fresh, tmp_path):
    state = State(1, 2.5, WatchState(alarms=1, step=1))
    checkpoints.save(tmp_path, model, state, keep=2)
    assert not equal(values(fresh), values(model))
    assert checkpoints.restore_newest(tmp_path, fresh) == state
    assert len(values(fresh)) == len(values(model))
    assert equal(values(fresh), values(model))


def test_only_the_newest_are_kept(model, tmp_path):
    for step in (5, 10, 200):
        checkpoints.save(tmp_path, model, State(step), keep=2)
    assert names(tmp_path) == ["step-00000010", "step-00000200"]
    # The order is that of the steps, not of the file system.
    newest = [path.name for path in checkpoints.newest_first(tmp_path)]
    assert newest == ["step-00000200", "step-00000010"]


def test_a_new_run_starts_at_step_0(fresh, tmp_path):
    assert checkpoints.restore_newest(tmp_path, fresh) == State()


@pytest.mark.parametrize(
    "name", ["weights.data-00000-of-00001", "weights.index", "state.json"]
)
@pytest.mark.parametrize("damage", ["truncated", "missing", "altered"])
def test_a_damaged_checkpoint_is_skipped(
    model, fresh, tmp_path, caplog, name, damage
):
    for step in (1, 2):
        checkpoints.save(tmp_path, model, State(step), keep=2)
    file = tmp_path / "step-00000002" / name
    data = file.read_bytes()
    file.unlink()
    if damage == "truncated":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "altered":
        middle = len(data) // 2
        byte = bytes([data[middle] ^ 128])
        file.write_bytes(data[:middle] + byte + data[middle + 1 :])
    assert checkpoints.restore_newest(tmp_path, fresh) == State(1)
    assert equal(values(fresh), values(model))
    assert "step-00000002 is damaged" in caplog.text


def test_a_damaged_checkpoint_does_not_cost_a_good_one(model, fresh, tmp_path):
    for step in (10, 20):
        checkpoints.save(tmp_path, model, State(step), keep=2)
    (tmp_path / "step-00000020" / "weights.index").unlink()
    assert checkpoints.restore_newest(tmp_path, fresh).step == 10
    checkpoints.save(tmp_path, fresh, State(15), keep=1)
    assert names(tmp_path) == ["step-00000015"]


def test_the_best_checkpoint_is_the_last_resort(model, fresh, tmp_path):
    checkpoints.save_best(tmp_path, model, State(5))
    checkpoints.save(tmp_path, model, State(10), keep=2)
    (tmp_path / "step-00000010" / "weights.index").unlink()
    assert checkpoints.restore_newest(tmp_path, fresh).step == 5
    assert equal(values(fresh), values(model))


def test_directories_with_other_names_are_left_alone(model, fresh, tmp_path):
    path = checkpoints.save(tmp_path, model, State(1), keep=1)
    shutil.copytree(path, tmp_path / "step-00000009-copy")
    assert checkpoints.restore_newest(tmp_path, fresh).step == 1
    checkpoints.save(tmp_path, model, State(2), keep=1)
    assert names(tmp_path) == ["step-00000002", "step-00000009-copy"]


def test_only_damaged_checkpoints_are_an_error(model, fresh, tmp_path):
    checkpoints.save(tmp_path, model, State(1), keep=2)
    (tmp_path / "step-00000001" / "state.json").unlink()
    with pytest.raises(UserError, match="contains no readable checkpoint"):
        checkpoints.restore_newest(tmp_path, fresh)


def test_different_networks_are_not_called_damage(model, tmp_path, caplog):
    checkpoints.save(tmp_path, model, State(1), keep=2)
    deeper = networks.build_generator(
        config_lib.load("tiny", ["model.num_downsamples=3"])
    )
    with pytest.raises(UserError, match="contains no readable checkpoint"):
        checkpoints.restore_average(tmp_path, deeper)
    assert "has different networks than this version" in caplog.text
    assert "damaged" not in caplog.text


def test_an_export_gets_the_averaged_generator(model, tiny, tmp_path):
    checkpoints.save(tmp_path, model, State(1), keep=2)
    generator = networks.build_generator(tiny)
    checkpoints.restore_average(tmp_path, generator)
    assert equal(generator.get_weights(), model.ema_generator.get_weights())
    assert not equal(generator.get_weights(), model.generator.get_weights())


def test_an_export_prefers_the_best_and_then_the_newest(model, tiny, tmp_path):
    generator = networks.build_generator(tiny)
    with pytest.raises(UserError, match="contains no checkpoint"):
        checkpoints.restore_average(tmp_path, generator)
    for step in (1, 2):
        checkpoints.save(tmp_path, model, State(step), keep=2)
    best = checkpoints.save_best(tmp_path, model, State(1))
    assert checkpoints.restore_average(tmp_path, generator).state.step == 1
    (best / "weights.index").unlink()
    assert checkpoints.restore_average(tmp_path, generator).state.step == 2


def test_an_export_may_take_the_last_or_any_checkpoint(model, tiny, tmp_path):
    generator = networks.build_generator(tiny)

    def choice(which):
        return checkpoints.restore_average(tmp_path, generator, which)

    for step in (500, 1000):
        checkpoints.save(tmp_path, model, State(step), keep=2)
    reason = choice("best").reason
    assert choice("best").name == "step-00001000" and "not found" in reason
    watch = WatchState(step=700, metrics={"frechet": 15.125})
    checkpoints.save_best(tmp_path, model, State(700, watch=watch))
    assert choice("best").state.step == 700
    reason = choice("best").reason
    assert "Frechet distance 15.12" in reason
    assert reason.endswith("; the newest is of step 1000")
    for which, step in (("last", 1000), ("500", 500), ("700", 700)):
        assert choice(which).state.step == step
        assert "as asked for" in choice(which).reason
    with pytest.raises(
        UserError, match=r"no checkpoint of step 7; .*500, 700 \(best\), 1000"
    ):
        choice("7")
    (tmp_path / "best-00000700" / "state.json").unlink()
    assert choice("best").state.step == 1000
    assert "best-00000700 cannot be read" in choice("best").reason


def test_there_is_one_best_and_a_later_one_replaces_that_of_an_earlier_end(
    model, tmp_path
):
    for step in (5, 10):
        checkpoints.save_best(tmp_path, model, State(step))
    checkpoints.save_best(tmp_path, model, State(15), last=True)
    assert names(tmp_path) == ["best-00000010", "last-00000015"]
    checkpoints.save_best(tmp_path, model, State(20))
    assert names(tmp_path) == ["best-00000020"]


def test_nothing_is_visible_half_removed(model, tmp_path, monkeypatch):
    removed, remove = [], shutil.rmtree

    def recording(path, **options):
        removed.append(path.name)
        remove(path, **options)

    monkeypatch.setattr(shutil, "rmtree", recording)
    for step in (1, 2, 2, 3):
        checkpoints.save(tmp_path, model, State(step), keep=1)
        checkpoints.save_best(tmp_path, model, State(step))
    assert names(tmp_path) == ["best-00000003", "step-00000003"]
    assert {name.split("-")[0] for name in removed} == {".incomplete"}
    assert len(removed) > 4


def test_a_checkpoint_of_an_earlier_version_is_restored(model, fresh, tmp_path):
    """It has the number of rollbacks in its name and among its variables."""
    path = checkpoints.save(tmp_path, model, State(1), keep=1)
    tf.train.Checkpoint(
        generator=model.generator,
        critic=model.critic,
        ema_generator=model.ema_generator,
        generator_optimizer=model.generator_optimizer,
        critic_optimizer=model.critic_optimizer,
        augment_p=model.augment_p,
        rollbacks=tf.Variable(2, dtype=tf.int64),
    ).write(str(path / "weights"))
    for name in ("step-00000001-r2", "step-00000001-r10"):
        shutil.copytree(path, tmp_path / name)
    newest = [p.name for p in checkpoints.newest_first(tmp_path)]
    assert newest == ["step-00000001-r10", "step-00000001-r2", "step-00000001"]
    assert checkpoints.restore_newest(tmp_path, fresh) == State(1)
    assert equal(values(fresh), values(model))
    checkpoints.save(tmp_path, fresh, State(2), keep=1)
    assert names(tmp_path) == ["step-00000002"]
