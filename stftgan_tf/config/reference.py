"""Writes `docs/configuration.md` from the schema:

python -m stftgan_tf.config.reference > docs/configuration.md
"""

import dataclasses
import inspect
import re
import typing
from typing import Any, Literal

from stftgan_tf.config.loading import load, shipped_configs
from stftgan_tf.config.schema import UNBOUNDED, Config

_INTRO = """# Configuration

```console
python -m stftgan_tf.train --config tiny --set train.steps=9 --print_config
```

```yaml
audio:
  sample_rate_hz: 8000
  decoder: sndfile
...
train:
  loss: wgan-gp
...
  steps: 9
```

One config describes the audio, the STFT, the networks, the training and the
limits of the evaluation. All commands read the same file, so they cannot
disagree. An unknown key or an invalid value stops the command. The message
names the key, the file or `--set` that contains it, and the nearest valid key.

## Choosing and changing a config

| flag | meaning |
| --- | --- |
| `--config NAME_OR_FILE` | a shipped config (see below) or a YAML file |
| `--set SECTION.KEY=VALUE` | override one value; repeatable |
| `--print_config` | print the resolved config as YAML and exit |

Runs and exports contain the resolved config. `evaluate` uses the one in the
export unless `--config` is given.

To write your own config, extend a shipped one and list only the differences.
`extends` is the name of a shipped config or a path relative to the file:

```yaml
# my-voice.yaml
extends: speech16k
window:
  frames: 32
train:
  steps: 5000
```

```console
python -m pipeline.preprocess --config my-voice.yaml --print_config
```

A text key takes its value as it is written: `--set` needs no quotes beyond
those of the shell (`--set 'audio.label_regex=take #[0-9]+'`), and `yes`, `7`,
`1_2` or `null` in a file is text. A number consists of decimal digits;
YAML's other notations, such as `010`, `1:30`, `0x10` and `1_000`, are refused.

A data set contains the sections `audio`, `stft`, `window` and `split` of its
config. Training fails if the config has different values in them. The other
sections can change without preprocessing again.

Configs of earlier versions still load: renamed keys are translated. A config
that uses a removed feature stops the command.

## Shipped configs
"""


def markdown() -> str:
    """The text of `docs/configuration.md`."""
    parts = [_INTRO, _shipped_table()]
    for field in dataclasses.fields(Config):
        parts += _section(field.name, typing.get_type_hints(Config)[field.name])
    return "\n".join(parts).rstrip() + "\n"


def _shipped_table() -> str:
    lines = [
        "| config | rate | window (frames x bins) | seconds per window | loss "
        "| condition |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in sorted(shipped_configs()):
        config = load(name)
        frames, bins = config.window_shape
        secs = config.window_samples / config.audio.sample_rate_hz
        lines.append(
            f"| `{name}` | {config.audio.sample_rate_hz} Hz | {frames} x {bins}"
            f" | {secs:.2f} | `{config.train.loss}` "
            f"| {config.model.condition} |"
        )
    return "\n".join(lines) + "\n"


def _section(name: str, cls: type) -> list[str]:
    """Heading, introduction and table of one section."""
    text = inspect.getdoc(cls) or ""
    intro = text.partition("Attributes:")[0].strip()
    rows = "\n".join(_rows(name, cls))
    table = "| key | values | default | meaning |\n| --- | --- | --- | --- |"
    return [f"## {name}\n", f"{intro}\n", f"{table}\n{rows}\n"]


def _rows(prefix: str, cls: type) -> list[str]:
    hints, meanings = typing.get_type_hints(cls), _meanings(cls)
    rows = []
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        hint, key = hints[field.name], f"{prefix}.{field.name}"
        if dataclasses.is_dataclass(hint):
            rows += _rows(key, typing.cast(type, hint))
            continue
        cells = [
            f"`{key}`",
            _values(hint, field.metadata.get("range")),
            _default(field.default),
            _sentence(meanings[field.name]),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _meanings(cls: type) -> dict[str, str]:
    """The `Attributes:` section of a docstring, by attribute."""
    attributes = (inspect.getdoc(cls) or "").partition("Attributes:\n")[2]
    entries = re.split(r"^  (\w+): ", attributes, flags=re.M)[1:]
    texts = [" ".join(text.split()) for text in entries[1::2]]
    return dict(zip(entries[::2], texts, strict=True))


def _sentence(text: str) -> str:
    """The text with a capital letter, escaped for a table."""
    return text[0].upper() + text[1:].replace("|", "\\|")


def _values(hint: Any, bounds: tuple[float, float] | None) -> str:
    if typing.get_origin(hint) is Literal:
        return ", ".join(f"`{choice}`" for choice in typing.get_args(hint))
    if bounds is None:
        return "text" if hint is str else hint.__name__
    kind = "integer" if hint is int else "number"
    low, high = (f"{bound:.10g}" for bound in bounds)
    if bounds[1] == UNBOUNDED:
        return f"{kind}, at least {low}"
    return f"{kind}, {low} to {high}"


def _default(value: Any) -> str:
    if value is dataclasses.MISSING:
        return "required"
    if value == "":
        return "empty"
    return f"`{value}`"


if __name__ == "__main__":
    print(markdown(), end="")
