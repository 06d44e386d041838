import tracemalloc

import numpy as np

from pipeline.quality.leaks import LeakSearch


def speech(seed):
    """A window of log-magnitudes float32 [16, 32] with bands that change."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(-5, 2, (8, 16))
    return np.float32(np.kron(coarse, np.ones((2, 2))))


def noise(seed):
    """A window of steady noise: one spectrum, other values."""
    rng = np.random.default_rng(seed)
    spectrum = np.linspace(-4, -6, 32)
    return np.float32(spectrum + rng.normal(0, 0.5, (16, 32)))


def search(train, evaluation):
    leaks = LeakSearch(len(evaluation))
    for split, windows in (("eval", evaluation), ("train", train)):
        for index, window in enumerate(windows):
            leaks.add(split, window, f"{split}{index}.wav".encode())
    return leaks.result()


def test_equal_windows_are_found_whatever_their_recording_is_called():
    train = [speech(seed) for seed in range(20)]
    leak = search(train, [speech(100), train[3], train[3], speech(101)])
    assert leak.share == 0.5
    assert leak.equal == [("eval1.wav", "train3.wav")] + [
        ("eval2.wav", "train3.wav")
    ]
    assert leak.near == []
    assert leak.text(leak.equal) == (
        "2 of 4 evaluation windows (50.0 %; eval1.wav = train3.wav, "
        "eval2.wav = train3.wav)"
    )


def test_near_copies_are_found_but_not_other_windows_of_the_same_noise():
    rng = np.random.default_rng(0)
    train = [speech(0), noise(0)]
    copy = speech(0) + np.float32(rng.normal(0, 0.02, (16, 32)))
    leak = search(train, [copy, noise(1), speech(1)])
    assert leak.near == [("eval0.wav", "train0.wav")]
    assert leak.share == 0


def test_a_large_split_is_sampled_evenly():
    train = [speech(0)]
    leak = search(train, [train[0], speech(1)] * 3000)
    assert leak.compared == 2000 and leak.share == 0.5


def test_memory_does_not_grow_with_the_training_windows():
    """A description takes half a kilobyte, those of 10,000 windows 5 MB."""
    leaks, quiet = LeakSearch(2), speech(1)
    leaks.add("eval", speech(9000), b"a")
    leaks.add("eval", speech(0), b"b")
    tracemalloc.start()
    for index in range(10_000):
        window = speech(index) if index % 1000 == 0 else quiet
        leaks.add("train", window, str(index).encode())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The nearest ones are in the last and in the first block.
    assert leaks.result().equal == [("a", "9000"), ("b", "0")]
    assert peak < 4e6


def test_a_data_set_without_evaluation_windows_has_no_leaks():
    assert search([speech(0)], []).share == 0
    assert search([], [speech(0)]).equal == []
