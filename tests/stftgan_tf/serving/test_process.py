import logging

from stftgan_tf.serving import process


class Lines(logging.Handler):
    def __init__(self, limit):
        super().__init__()
        self.addFilter(limit)
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


def test_lines_of_one_kind_are_limited_and_others_are_not():
    now = [0.0]
    limit = process.RateLimit(max_lines=3, secs=60, clock=lambda: now[0])
    lines, log = Lines(limit), logging.getLogger("test-of-limits")
    log.addHandler(lines)
    log.propagate = False
    log.setLevel(logging.INFO)
    for number in range(100):
        log.warning("request %d failed", number)
        # asyncio puts the values into the text, after the first line.
        log.error(f"accept failed\nsocket: {number}")
    for number in range(10):
        log.info("version %d is available", number)
    notice = "(similar lines are left out for 60 s)"
    assert lines.texts[:6] == [
        "request 0 failed",
        "accept failed\nsocket: 0",
        "request 1 failed",
        "accept failed\nsocket: 1",
        f"request 2 failed {notice}",
        f"accept failed\nsocket: 2 {notice}",
    ]
    assert len(lines.texts) == 16
    now[0] = 60.0
    log.warning("request %d failed", 100)
    assert lines.texts[-1] == "request 100 failed"
    # Texts that are all different must not fill the memory.
    for number in range(5000):
        log.warning(f"kind {number}")
    assert len(lines.texts) == 17 + 5000
    assert len(limit._kinds) <= 1000
    log.removeHandler(lines)


def test_lines_of_libraries_are_limited_too(capsys):
    with process.log_to_stderr():
        for _ in range(100):
            logging.getLogger("asyncio").error("accept failed")
    error = capsys.readouterr().err
    assert error.count("accept failed") == 20
