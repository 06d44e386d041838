import threading
import time

import pytest

pytest.importorskip("grpc")

from stftgan_tf.serving.errors import RequestError  # noqa: E402
from stftgan_tf.serving.limiter import RequestLimiter  # noqa: E402


def test_two_requests_run_three_wait_and_the_next_is_rejected():
    limiter, running, counts = RequestLimiter(2, 3), [], []
    finish = threading.Event()

    def request():
        with limiter.slot():
            running.append(1)
            counts.append(len(running))
            finish.wait()
            running.pop()

    threads = [threading.Thread(target=request) for _ in range(5)]
    for thread in threads:
        thread.start()
    while len(running) < 2:
        time.sleep(0.01)
    # The other three have time to be admitted.
    time.sleep(0.1)
    with pytest.raises(RequestError, match="are waiting") as error:
        limiter.slot().__enter__()
    assert error.value.code.name == "UNAVAILABLE"
    finish.set()
    for thread in threads:
        thread.join()
    assert max(counts) == 2 and len(counts) == 5
    with limiter.slot():
        pass
