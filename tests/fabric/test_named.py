"""Python objects named by a text."""

from __future__ import annotations

import os
import sys

import pytest

from chronofabric.errors import ArgumentError
from chronofabric.fabric.named import name_of, named_object


def test_a_dotted_attribute_is_found():
    assert named_object("os:path.join") is os.path.join
    assert named_object("collections:OrderedDict.fromkeys")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("no_such_module_here:f", "there is no module 'no_such_module_here'"),
        ("os.nothing_here:f", "there is no module 'os.nothing_here'"),
        ("math:flor", "did you mean 'floor'"),
        ("os:path.jion", "'path' has no 'jion'; did you mean 'join'"),
        ("math", "write it like 'module:function'"),
        (":f", "write it like 'module:function'"),
        ("math:", "write it like 'module:function'"),
        ("math:a:b", "write it like 'module:function'"),
    ],
)
def test_a_name_that_leads_nowhere_says_where_it_ended(name, what):
    with pytest.raises(ArgumentError) as caught:
        named_object(name)
    assert what in str(caught.value)
    assert caught.value.value == name


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("import no_such_dependency_here", "it needs 'no_such_dependency_here'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def f(:", "SyntaxError"),
    ],
)
def test_a_module_that_breaks_while_it_is_imported_is_told_apart_from_a_missing_one(tmp_path, monkeypatch, body, what):
    (tmp_path / "broken_module_of_a_test.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ArgumentError) as caught:
        named_object("broken_module_of_a_test:f")
    assert what in str(caught.value)
    assert caught.value.__cause__ is not None
    sys.modules.pop("broken_module_of_a_test", None)


def test_an_object_has_a_short_name():
    assert name_of(name_of) == "chronofabric.fabric.named:name_of"
    assert name_of(object()) == "object"
