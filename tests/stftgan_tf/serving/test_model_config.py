from pathlib import Path

import pytest

from stftgan_tf.errors import ConfigError
from stftgan_tf.serving import model_config
from stftgan_tf.serving.model_config import ModelConfig, VersionPolicy

pytest.importorskip("tensorflow_serving")


def read(tmp_path, text):
    path = tmp_path / "models.config"
    path.write_text(text, encoding="utf-8")
    return model_config.read(path)


def test_models_have_directories_policies_and_labels(tmp_path):
    models = read(
        tmp_path,
        """
        # As in the guide of TensorFlow Serving.
        model_config_list {
          config { name: "newest" base_path: "/a" model_platform: "tensorflow" }
          config { name: "two" base_path: "b"
            model_version_policy { latest { num_versions: 2 } } }
          config { name: "every" base_path: "/c"
            model_version_policy: { all: {} } }
          config { name: "some" base_path: "/d"
            model_version_policy { specific { versions: 1 versions: 42 } }
            version_labels { key: "stable" value: 1 }
            version_labels { key: "canary" value: 42 } }
        }
        """,
    )
    labels = {"stable": 1, "canary": 42}
    assert models == {
        "newest": ModelConfig(Path("/a"), VersionPolicy(latest=1)),
        "two": ModelConfig(Path("b"), VersionPolicy(latest=2)),
        "every": ModelConfig(Path("/c"), VersionPolicy(latest=None)),
        "some": ModelConfig(
            Path("/d"), VersionPolicy(None, frozenset({1, 42})), labels
        ),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a model_config_list with at least one model"),
        ("model_config_list {", "Expected"),
        ("\x00\x01", "models.config: 1:1"),
        ("custom_model_config {}", "custom_model_config is not supported"),
        ('config { nme: "a" }', 'has no field named "nme"'),
        (
            'config { name: "a" }',
            "model 'a': base_path is ''; expected a local",
        ),
        (
            'config { name: "a" base_path: "gs://b" }',
            "'gs://b'; expected a loc",
        ),
        (
            'config { name: "a" base_path: "b" model_platform: "other" }',
            "model 'a': model_platform is 'other'; expected 'tensorflow'",
        ),
        (
            'config { name: "a" base_path: "b" '
            "model_version_policy { specific {} } }",
            "model 'a': specific names no versions",
        ),
        (
            2 * 'config { name: "a" base_path: "b" }',
            "two models are called 'a'",
        ),
    ],
)
def test_a_file_that_cannot_be_served_is_refused(tmp_path, text, message):
    if text.startswith("config"):
        text = f"model_config_list {{ {text} }}"
    with pytest.raises(ConfigError) as error:
        read(tmp_path, text)
    assert message in str(error.value)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "models.config").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(ConfigError, match="models.config: .*utf-8"):
        model_config.read(tmp_path / "models.config")
