"""Files of strangers: read within bounds, refused in one line, or exactly what they should be."""

import json
import os

import pytest

from introspect import reading
from introspect.fields import Refused
from introspect.reading import NUMBER, misfit, read_bytes, read_json, read_lines

OBJECTS = [  # text of a file, form, how the refusal goes on after the name of the file
    (None, {}, "cannot be read"),
    ("{", {}, "not JSON"),
    ("\xff", {}, "not JSON"),
    ("[" * 100_000, {}, r"not JSON \(nested too deeply\)"),
    ('{"b": NaN}', {}, r"not JSON \(NaN is no number\)"),
    ("1" * 5000, {}, "not JSON"),
    ("[1]", {"b": int}, "it must be an object with b"),
    ('{"a": 1}', {"b": int, "c": int}, "it must be an object with b, c"),
    ('{"b": true}', {"b": int}, "b must be int"),
    ('{"b": 1e999}', {"b": NUMBER}, "b must be int or float"),
    ('{"b": 9223372036854775808}', {"b": int}, "b must be int"),
    ('{"b": -1e101}', {"b": NUMBER}, "b must be int or float"),
    ('{"b": "\\ud800"}', {"b": str}, "not JSON .*surrogates not allowed"),
    ('{"b": "", "\\uDFFF": 0}', {"b": str}, "not JSON .*surrogates not allowed"),
    ('{"b": null}', {"b": str}, "b must be str"),
    ('{"b": "x"}', {"b": NUMBER | None}, "b must be int or float or null"),
    ('{"b": {"x": "1"}}', {"b": {str: int}}, "x must be int"),
    ('{"b": [1, 2.5]}', {"b": [int]}, r"b\[1\] must be int"),
    ('{"b": {}}', {"b": [int]}, "b must be a list"),
    ('{"b": 1}', {"b?": str}, "b must be str"),
]


def test_what_is_not_the_json_object_is_refused_in_one_line(tmp_path):
    path = tmp_path / "x.json"
    for text, form, says in OBJECTS:
        if text is not None:
            path.write_bytes(text.encode("latin-1"))
        with pytest.raises(Refused, match=f"x.json: {says}") as e:
            read_json(path, form)
        assert "\n" not in str(e.value), text


def test_an_object_of_the_form_may_have_more_keys(tmp_path):
    value = {"a": 2**63 - 1, "b": None, "😀": -1e99, "c": {"x": 1.5, "named": "y"}, "é": [[]]}
    (tmp_path / "x.json").write_text(json.dumps(value))
    form = {"a": int, "b": NUMBER | None, "c": {str: NUMBER, "named": str}, "z?": int}
    assert read_json(tmp_path / "x.json", form) == value
    assert misfit(value, form | {"z": int}) == "it must be an object with a, b, c, z"


LINES = [
    (None, "cannot be read"),
    ('{"step": 1}\n{', "line 2: not JSON"),
    ("", ": must have lines, each an object with step"),
    ('{"step": 1}\n3\n', "line 2: it must be an object with step"),
    ('{"step": 1}\n{"step": "1"}\n', "line 2: step must be int"),
    ('{"step": 1, "x": "' + "y" * reading.MOST_LINE + '"}\n', "line 1: is longer than"),
]


def test_what_is_not_lines_of_json_objects_is_refused(tmp_path):
    path = tmp_path / "x.jsonl"
    for text, says in LINES:
        if text is not None:
            path.write_text(text)
        with pytest.raises(Refused, match=f"x.jsonl.*{says}"):
            read_lines(path, {"step": int})
    path.write_text('{"step": 1}\n{"step": 2, "a": []}\n')
    assert read_lines(path, {"step": int}) == [{"step": 1}, {"step": 2, "a": []}]


def test_only_regular_files_of_a_bounded_size_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "large").write_bytes(b"12345")
    for name in ("pipe", "zero", "."):
        with pytest.raises(Refused, match="must be a regular file"):
            read_bytes(tmp_path / name, 10)
    with pytest.raises(Refused, match="has 5 bytes; at most 4"):
        read_bytes(tmp_path / "large", 4)
    (tmp_path / "link").symlink_to("large")
    assert read_bytes(tmp_path / "link", 5) == b"12345"
