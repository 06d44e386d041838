import dataclasses
import re

from stftgan_tf import config as config_lib
from stftgan_tf.config import reference
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "configuration.md"
COMMAND = "python -m stftgan_tf.config.reference > docs/configuration.md"


def test_page_is_what_the_schema_generates():
    assert PAGE.read_text() == reference.markdown(), (
        f"the schema or a shipped config has changed; run {COMMAND}"
    )


def test_page_has_one_row_for_every_key(tiny):
    def keys(values, prefix=""):
        for key, value in values.items():
            if isinstance(value, dict):
                yield from keys(value, f"{prefix}{key}.")
            else:
                yield prefix + key

    rows = re.findall(r"^\| `([\w.]+\.\w+)` \|", reference.markdown(), re.M)
    assert rows == list(keys(dataclasses.asdict(tiny)))


def test_example_on_the_page_loads(tmp_path):
    (example,) = re.findall(
        r"^```yaml\n(# .*?)^```", PAGE.read_text(), re.M | re.S
    )
    path = tmp_path / "my-voice.yaml"
    path.write_text(example)
    config = config_lib.load(path)
    assert config.window.frames == 32
    assert config.stft == config_lib.load("speech16k").stft
