import pytest

from stftgan_tf import serve
from stftgan_tf.serving import server_flags


def error_lines(capsys, *flags):
    """The lines of the command with flags and a directory that is missing."""
    assert serve.main([*flags, "--model_base_path=nowhere"]) == 1
    *lines, last = capsys.readouterr().err.splitlines()
    assert "nowhere is not a directory" in last
    return lines


@pytest.mark.parametrize("form", ["", "=true", "=false", "=/a/file"])
def test_each_flag_without_effect_warns_in_one_line(capsys, form):
    names = list(server_flags.WITHOUT_EFFECT)
    lines = error_lines(capsys, *(f"--{name}{form}" for name in names))
    assert len(lines) == len(names)
    for name, line in zip(names, lines, strict=True):
        assert f"  --{name} has no effect here: " in line


@pytest.mark.parametrize("name", server_flags.REFUSED)
def test_a_flag_that_must_not_be_ignored_is_refused(capsys, name):
    assert serve.main([f"--{name}=/a/file", "--model=x"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: --{name} is not supported; ")
    assert error.count("\n") == 1


def test_default_values_of_refused_flags_are_accepted(capsys):
    flags = ["--saved_model_tags=serve", "--use_alts_credentials=false"]
    flags += ["--ssl_config_file=", "--platform_config_file="]
    assert error_lines(capsys, *flags) == []


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--enable_model_warmup=maybe", "'maybe' is neither true nor false"),
        ("--grpc_channel_arguments=a=1,b", "'b' is not of the form KEY=VALUE"),
        ("--rest_api_timeout_in_ms=soon", "invalid int value: 'soon'"),
        ("--model_config_fil=x", "did you mean --model_config_file"),
    ],
)
def test_invalid_values_are_refused(capsys, flag, message):
    with pytest.raises(SystemExit) as error:
        serve.main([flag, "--model=x"])
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as error:
        serve.main(["--version"])
    assert error.value.code == 0
    assert "TensorFlow Library: 2." in capsys.readouterr().out


def test_the_models_of_the_file_win_with_a_warning(capsys, tmp_path):
    # The container of TensorFlow Serving always sets the other two.
    pytest.importorskip("tensorflow_serving")
    path = tmp_path / "models.config"
    path.write_text(
        'model_config_list { config { name: "a" base_path: "nowhere" } }'
    )
    lines = error_lines(capsys, f"--model_config_file={path}", "--model_name=b")
    assert "--model_name has no effect here" in lines[0]
    assert "--model_base_path has no effect here" in lines[1]
    assert serve.main([f"--model_config_file={tmp_path / 'missing'}"]) == 1
    assert "missing: No such file" in capsys.readouterr().err
    path.write_text("model_config_list { config { } }")
    assert serve.main([f"--model_config_file={path}"]) == 2
