import shutil
import threading
import time

import numpy as np
import pytest

from tests.conftest import save_half_plus

pytest.importorskip("tensorflow_serving")

from stftgan_tf.serving import (
    servable,  # noqa: E402
    versions,  # noqa: E402
)


@pytest.fixture
def base(tmp_path):
    save_half_plus(tmp_path / "1", 1.0)
    return tmp_path


def watched(base):
    """Versions that look when they are told to."""
    return versions.Versions("half", base, 0, 64)


def serving(found):
    """The version that answers, and what of 0."""
    with found.borrowed("half", None) as one:
        made = one.run("", {"x": np.float32([0])})
        return one.version, float(made["y"][0])


def states(found):
    return {s.version: s.state for s in found.statuses("half", None)}


def test_the_newest_number_serves(base):
    save_half_plus(base / "10", 10.0)
    save_half_plus(base / "9", 9.0)
    save_half_plus(base / "latest", 0.0)
    (base / "11").write_text("no folder")
    # No number that the protocols can hold.
    (base / str(2**63)).mkdir()
    found = watched(base)
    assert serving(found) == (10, 10.0)
    with pytest.raises(servable.Refusal, match="Specific"):
        found.borrowed("half", 9).__enter__()
    found.close()


def test_a_newer_one_takes_over_and_the_old_one_ends_when_it_is_done(base):
    found = watched(base)
    with found.borrowed("half", None) as old:
        save_half_plus(base / "2", 2.0)
        found.poll()
        assert serving(found) == (2, 2.0)
        assert states(found) == {2: "AVAILABLE", 1: "UNLOADING"}
        assert old.run("", {"x": np.float32([0])})["y"] == [1.0]
    assert states(found) == {2: "AVAILABLE", 1: "END"}
    found.close()
    assert states(found) == {2: "END", 1: "END"}


def test_a_version_taken_away_gives_way_to_the_one_before(base):
    save_half_plus(base / "2", 2.0)
    found = watched(base)
    shutil.rmtree(base / "2")
    found.poll()
    assert serving(found) == (1, 1.0)
    shutil.rmtree(base / "1")
    found.poll()
    assert serving(found) == (1, 1.0)
    found.close()


def test_a_version_put_back_while_its_former_load_is_in_use_serves(base):
    found = watched(base)
    with found.borrowed("half", None):
        save_half_plus(base / "2", 2.0)
        found.poll()
        shutil.rmtree(base / "2")
        found.poll()
        assert serving(found) == (1, 1.0)
    assert states(found)[1] == "AVAILABLE"
    found.close()
    assert states(found)[1] == "END"


@pytest.mark.parametrize("damage", ["empty", "cut", "weights", "warm-up"])
def test_a_damaged_version_never_replaces_a_good_one(base, damage):
    found = watched(base)
    if damage == "empty":
        (base / "2").mkdir()
    else:
        save_half_plus(base / "2", 2.0)
        file = base / "2" / "saved_model.pb"
        if damage == "cut":
            file.write_bytes(file.read_bytes()[:200])
        elif damage == "weights":
            data = base / "2" / "variables"
            shutil.rmtree(data)
        else:
            warm_up = base / "2" / "assets.extra"
            warm_up.mkdir()
            (warm_up / "tf_serving_warmup_requests").write_bytes(b"x" * 50)
    found.poll()
    found.poll()
    assert serving(found) == (1, 1.0)
    bad, good = found.statuses("half", None)
    assert (bad.version, bad.state, bad.code) == (2, "END", "INVALID_ARGUMENT")
    assert bad.message and good.state == "AVAILABLE"
    # Copied anew: its files have changed.
    shutil.rmtree(base / "2")
    save_half_plus(base / "2", 2.0)
    found.poll()
    assert serving(found) == (2, 2.0)
    found.close()


def test_a_server_waits_for_its_first_version(tmp_path):
    found, healthy = watched(tmp_path), []
    found.tell_of_change(healthy.append)
    assert healthy == [False]
    with pytest.raises(servable.Refusal, match="Servable not found"):
        serving(found)
    with pytest.raises(servable.Refusal, match="Could not find any versions"):
        found.statuses("half", None)
    save_half_plus(tmp_path / "1", 1.0)
    found.poll()
    assert serving(found) == (1, 1.0)
    assert healthy == [False, True]
    found.close()
    assert healthy == [False, True, False]


def test_a_gate_lets_so_many_run_and_so_many_wait():
    gate, inside, most = servable.Gate(2, 3), [], []
    go = threading.Event()

    def job():
        with gate():
            inside.append(1)
            most.append(len(inside))
            go.wait()
            inside.pop()

    jobs = [threading.Thread(target=job) for _ in range(5)]
    for one in jobs:
        one.start()
    end = time.monotonic() + 10
    while len(inside) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.1)
    with pytest.raises(servable.Refusal, match="wait already") as caught:
        gate().__enter__()
    assert caught.value.code.name == "UNAVAILABLE"
    go.set()
    for one in jobs:
        one.join()
    assert max(most) == 2 and len(most) == 5
    with gate():
        pass
