"""Reads YAML without guessing types: every scalar is the text as written.

YAML 1.1 reads `yes` as true, `010` as 8, `1:30` as 90 and `1_2` as 12. The
schema knows the type of every key and converts the text.
"""

from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """Constructs mappings, sequences and texts; refuses duplicate keys."""

    # Of the implicit types only the merge key `<<` is left.
    yaml_implicit_resolvers = {
        "<": yaml.SafeLoader.yaml_implicit_resolvers["<"]
    }

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Any, Any]:
        if isinstance(node, yaml.MappingNode):
            _refuse_duplicates(node)
        return super().construct_mapping(node, deep)


# Explicit tags such as !!int must not bring the guesses back.
for _tag in ("bool", "int", "float", "merge", "null", "timestamp"):
    _Loader.add_constructor(
        f"tag:yaml.org,2002:{_tag}", _Loader.construct_yaml_str
    )


def _refuse_duplicates(node: yaml.MappingNode) -> None:
    names = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        if key.value in names:
            raise yaml.MarkedYAMLError(
                problem=f"the key {key.value} occurs twice",
                problem_mark=key.start_mark,
            )
        names.add(key.value)


def load(source: str | bytes) -> Any:
    """Nested dicts and lists of the texts of a YAML document.

    Args:
      source: text, or bytes in UTF-8 or (with a byte order mark) UTF-16.

    Raises:
      ValueError: if it is not YAML; the message is one line.
    """
    try:
        # A subclass of SafeLoader constructs plain values only.
        return yaml.load(source, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(_reason(error)) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _reason(error: yaml.YAMLError) -> str:
    """What is wrong, with line and column if they are known."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    return f"{error.problem} in line {mark.line + 1}, column {mark.column + 1}"
