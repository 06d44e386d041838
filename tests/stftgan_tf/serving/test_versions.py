import os
import shutil
import time

import numpy as np
import pytest

from tests.conftest import save_half_plus

pytest.importorskip("tensorflow_serving")

from stftgan_tf.serving import version_state  # noqa: E402
from stftgan_tf.serving.errors import RequestError  # noqa: E402
from stftgan_tf.serving.model_config import (  # noqa: E402
    ModelConfig,
    VersionPolicy,
)
from stftgan_tf.serving.options import ServerOptions  # noqa: E402
from stftgan_tf.serving.versions import VersionManager  # noqa: E402

ZERO = {"x": np.float32([0])}


@pytest.fixture
def base(tmp_path):
    save_half_plus(tmp_path / "1", 1.0)
    return tmp_path


class Manager(VersionManager):
    """Polls only when a test calls `poll`, and waits for the loads."""

    is_ready = False

    def __init__(self, base, latest=1, versions=None, labels=None, **options):
        policy = VersionPolicy(latest, versions)
        config = ModelConfig(base, policy, labels or {})
        options = ServerOptions({}, file_system_poll_wait_seconds=0, **options)
        super().__init__("half", config, options)
        self.is_ready = True
        self.wait()

    def poll(self):
        super().poll()
        if self.is_ready:
            self.wait()

    def wait(self):
        while not self.is_settled:
            time.sleep(0.01)


manage = Manager


def copies(base, *versions):
    """Copies version 1, whose output for 0 is 1."""
    for version in versions:
        staging = base / f".incomplete-{version}"
        shutil.copytree(base / "1", staging)
        staging.rename(base / str(version))


def hang(version):
    """Makes a version hang when it loads; returns what ends that."""
    file = version / "variables" / "variables.data-00000-of-00001"
    file.unlink()
    pipe = version.parent / ".pipe"
    os.mkfifo(pipe)
    os.link(pipe, file)

    def resume():
        # The reader sees an empty file.
        os.close(os.open(pipe, os.O_RDWR))

    return resume


def current(manager, **version):
    """The version that requests use, and its output for 0."""
    with manager.use("half", **version) as model:
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
    elif kind == "missing":
        shutil.rmtree(version / "variables")
    elif kind == "weights":
        weights = version / "variables" / "variables.data-00000-of-00001"
        weights.write_bytes(bytes(255 - b for b in weights.read_bytes()))
    else:
        (version / "assets.extra").mkdir()
        requests = version / "assets.extra" / "tf_serving_warmup_requests"
        requests.write_bytes(b"x" * 50)


@pytest.mark.parametrize(
    "kind", ["empty", "graph", "missing", "weights", "warm-up"]
)
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
    assert ("weights" in new.message) == (kind in ("weights", "missing"))
    # A second copy has different files, so it is tried again.
    shutil.rmtree(base / "2")
    save_half_plus(base / "2", 2.0)
    manager.poll()
    assert current(manager) == (2, 2.0)
    manager.close()


def test_warm_up_requests_can_be_switched_off(base):
    damage(base / "1", "warm-up")
    manager = manage(base, enable_model_warmup=False)
    assert current(manager) == (1, 1.0)
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


def test_the_newest_versions_that_load_are_served(base):
    copies(base, 2, 3, 4)
    damage(base / "4", "graph")
    manager = manage(base, latest=2)
    assert states(manager) == {4: "END", 3: "AVAILABLE", 2: "AVAILABLE"}
    assert [current(manager, version=v)[0] for v in (None, 2)] == [3, 2]
    copies(base, 5)
    manager.poll()
    assert current(manager)[0] == 5
    assert states(manager)[3] == "AVAILABLE" and states(manager)[2] == "END"
    with pytest.raises(RequestError, match=r"Specific\(half, 2\)"):
        current(manager, version=2)
    manager.close()
    assert set(states(manager).values()) == {"END"}


def test_all_versions_are_served_until_they_are_removed(base):
    copies(base, 2, 3)
    manager = manage(base, latest=None)
    shutil.rmtree(base / "2")
    manager.poll()
    expected = {3: "AVAILABLE", 2: "END", 1: "AVAILABLE"}
    assert states(manager) == expected
    manager.close()


def test_labels_name_versions(base):
    copies(base, 2, 3)
    labels = {"stable": 1, "canary": 3, "future": 4}
    specific = frozenset({1, 3, 4})
    manager = manage(base, None, specific, labels)
    assert states(manager) == {3: "AVAILABLE", 1: "AVAILABLE"}
    assert current(manager, label="stable")[0] == 1
    assert current(manager, label="canary")[0] == 3
    (status,) = manager.statuses("half", label="stable")
    assert status.version == 1
    with pytest.raises(RequestError, match=r"Specific\(half, 4\)") as error:
        current(manager, label="future")
    assert error.value.code.name == "NOT_FOUND"
    for name, label in (("half", "other"), ("other", "stable")):
        message = f"Unrecognized servable version label: {label}"
        for call in (manager.statuses, manager.use):
            with pytest.raises(RequestError, match=message) as error:
                call(name, label=label).__enter__()
            assert error.value.code.name == "INVALID_ARGUMENT"
    copies(base, 4)
    manager.poll()
    assert current(manager, label="future")[0] == 4
    manager.close()


def test_a_load_that_hangs_blocks_no_other_version(base, monkeypatch):
    copies(base, 2)
    resume = hang(base / "2")
    monkeypatch.setattr(version_state, "LOAD_PATIENCE_SECS", 0.5)
    # Once the patience is over, the next older version takes its place.
    manager = manage(base)
    manager.poll()
    assert states(manager) == {2: "LOADING", 1: "AVAILABLE"}
    assert current(manager)[0] == 1
    copies(base, 3)
    manager.poll()
    assert current(manager)[0] == 3
    assert states(manager) == {3: "AVAILABLE", 2: "END", 1: "END"}
    # When the load ends after all, nothing changes.
    resume()
    time.sleep(0.3)
    assert states(manager) == {3: "AVAILABLE", 2: "END", 1: "END"}
    manager.close()


def test_a_version_that_hung_is_tried_again_with_other_files(base, monkeypatch):
    copies(base, 2)
    weights = base / "2" / "variables" / "variables.data-00000-of-00001"
    content = weights.read_bytes()
    resume = hang(base / "2")
    monkeypatch.setattr(version_state, "LOAD_PATIENCE_SECS", 0.5)
    manager = manage(base)
    manager.poll()
    assert current(manager)[0] == 1
    weights.unlink()
    weights.write_bytes(content)
    manager.poll()
    assert current(manager)[0] == 2
    resume()
    manager.close()
