import shutil
import time

import numpy as np
import pytest

from tests.conftest import save_half_plus

pytest.importorskip("tensorflow_serving")

from stftgan_tf.serving.errors import RequestError  # noqa: E402
from stftgan_tf.serving.model_config import ModelConfig  # noqa: E402
from stftgan_tf.serving.options import ServerOptions  # noqa: E402
from stftgan_tf.serving.versions import VersionManager  # noqa: E402

ZERO = {"x": np.float32([0])}


@pytest.fixture
def base(tmp_path):
    save_half_plus(tmp_path / "1", 1.0)
    return tmp_path


class Manager(VersionManager):
    """Polls only when a test calls `poll`, and waits for the loads."""

    def __init__(self, base, **config):
        options = ServerOptions({}, file_system_poll_wait_seconds=0)
        super().__init__("half", ModelConfig(base, **config), options)
        self.wait()

    def poll(self):
        super().poll()
        self.wait()

    def wait(self):
        while not self.is_settled:
            time.sleep(0.01)


manage = Manager


def current(manager):
    """The current version, and its output for 0."""
    with manager.use("half", None) as model:
        return model.version, float(model.run("", ZERO)["y"][0])


def states(manager):
    return {s.version: s.state for s in manager.statuses("half", None)}


def test_the_highest_version_number_is_served(base):
    save_half_plus(base / "10", 10.0)
    save_half_plus(base / "9", 9.0)
    save_half_plus(base / "latest", 0.0)
    (base / "11").write_text("not a directory")
    # The protocols use int64.
    (base / str(2**63)).mkdir()
    manager = manage(base)
    assert current(manager) == (10, 10.0)
    with pytest.raises(RequestError, match="Specific"):
        manager.use("half", 9).__enter__()
    manager.close()


def test_a_newer_version_replaces_one_that_finishes_its_requests(base):
    manager = manage(base)
    with manager.use("half", None) as old:
        save_half_plus(base / "2", 2.0)
        manager.poll()
        assert current(manager) == (2, 2.0)
        assert states(manager) == {2: "AVAILABLE", 1: "UNLOADING"}
        assert old.run("", ZERO)["y"] == [1.0]
    assert states(manager) == {2: "AVAILABLE", 1: "END"}
    manager.close()
    assert states(manager) == {2: "END", 1: "END"}


def test_the_previous_version_returns_when_the_newest_is_removed(base):
    save_half_plus(base / "2", 2.0)
    manager = manage(base)
    shutil.rmtree(base / "2")
    manager.poll()
    assert current(manager) == (1, 1.0)
    shutil.rmtree(base / "1")
    manager.poll()
    assert current(manager) == (1, 1.0)
    manager.close()


def test_a_version_that_returns_while_its_first_copy_is_in_use(base):
    manager = manage(base)
    with manager.use("half", None):
        save_half_plus(base / "2", 2.0)
        manager.poll()
        shutil.rmtree(base / "2")
        manager.poll()
        assert current(manager) == (1, 1.0)
    assert states(manager)[1] == "AVAILABLE"
    manager.close()
    assert states(manager)[1] == "END"


def damage(version, kind):
    """Damages the directory of a version."""
    file = version / "saved_model.pb"
    if kind == "empty":
        shutil.rmtree(version)
        version.mkdir()
    elif kind == "graph":
        file.write_bytes(file.read_bytes()[:200])
    elif kind == "weights":
        shutil.rmtree(version / "variables")
    else:
        (version / "assets.extra").mkdir()
        requests = version / "assets.extra" / "tf_serving_warmup_requests"
        requests.write_bytes(b"x" * 50)


@pytest.mark.parametrize("kind", ["empty", "graph", "weights", "warm-up"])
def test_a_damaged_version_does_not_replace_a_valid_one(base, kind):
    manager = manage(base)
    save_half_plus(base / "2", 2.0)
    damage(base / "2", kind)
    manager.poll()
    manager.poll()
    assert current(manager) == (1, 1.0)
    new, old = manager.statuses("half", None)
    assert (new.version, new.state, new.code) == (2, "END", "INVALID_ARGUMENT")
    assert new.message and old.state == "AVAILABLE"
    # A second copy has different files, so it is tried again.
    shutil.rmtree(base / "2")
    save_half_plus(base / "2", 2.0)
    manager.poll()
    assert current(manager) == (2, 2.0)
    manager.close()


def test_an_empty_directory_is_served_once_it_has_a_version(tmp_path):
    manager, available = manage(tmp_path), []
    manager.on_change(available.append)
    assert available == [False]
    with pytest.raises(RequestError, match="Servable not found"):
        current(manager)
    with pytest.raises(RequestError, match="Could not find any versions"):
        manager.statuses("half", None)
    save_half_plus(tmp_path / "1", 1.0)
    manager.poll()
    assert current(manager) == (1, 1.0)
    assert available == [False, True]
    manager.close()
    assert available == [False, True, False]
