import pytest

from stftgan_tf.errors import first_line, tensorflow_reason


def test_first_line_falls_back_to_the_name_of_the_error():
    assert first_line(ValueError("\n one\ntwo")) == "one"
    assert first_line(ValueError()) == "ValueError"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "Graph execution error:\n\nDetected at node X defined at (most\n"
            '  File "x.py", line 1\n\n/a.rec; No such file\n\t [[{{node X}}]]',
            "/a.rec; No such file",
        ),
        (
            "Graph execution error:\n\nOOM when allocating tensor\n\t [[X]]\n"
            "Hint: If you want to see a list of allocated tensors\n",
            "OOM when allocating tensor",
        ),
        (
            "2 root error(s) found.\n  (0) INTERNAL:  no space\n\t [[X]]\n"
            "  (1) INTERNAL:  no space\n0 successful operations.\n"
            "0 derived errors ignored. [Op:X]",
            "INTERNAL:  no space",
        ),
        ("", "TensorFlow failed"),
    ],
)
def test_tensorflow_reason_is_the_line_that_names_the_cause(text, reason):
    assert tensorflow_reason(text) == reason
