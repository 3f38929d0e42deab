"""The public exceptions: one base, data as attributes, whole after a copy."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from chronofabric import errors

CLASSES = [
    value
    for name, value in sorted(vars(errors).items())
    if inspect.isclass(value) and issubclass(value, Exception) and not name.startswith("_")
]
VALUES = {
    "problems": [("plant.toml", 3, 1, "unknown key 'x'", None)],
    "subscriptions": ("a", "b"),
    "span": (3, 5),
}


def example(error_class):
    parameters = [name for name in inspect.signature(error_class).parameters if name != "message"]
    return {name: VALUES.get(name, f"a {name}") for name in parameters}


@pytest.mark.parametrize("error_class", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_has_the_base_is_exported_and_documents_its_attributes(error_class):
    assert issubclass(error_class, errors.ChronofabricError)
    assert error_class.__name__ in errors.__all__
    documentation = inspect.getdoc(error_class) or ""
    for name in example(error_class):
        assert f"\n{name} : " in documentation


@pytest.mark.parametrize("error_class", CLASSES, ids=lambda cls: cls.__name__)
def test_an_error_keeps_message_and_attributes_through_copy_and_pickle(error_class):
    attributes = example(error_class)
    error = error_class("what happened", **attributes)
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(twin) is error_class
        assert str(twin) == twin.message == "what happened"
        assert vars(twin) == vars(error)
    for name, value in attributes.items():
        if name != "problems":
            assert getattr(error, name) == value


@pytest.mark.parametrize("error_class", CLASSES, ids=lambda cls: cls.__name__)
def test_an_error_needs_no_argument(error_class):
    assert isinstance(error_class(), errors.ChronofabricError)


@pytest.mark.parametrize(
    ("error_class", "builtin"),
    [
        (errors.ArgumentError, ValueError),
        (errors.PatternError, errors.ArgumentError),
        (errors.ConfigurationError, errors.ArgumentError),
        (errors.ReceiveTimeout, TimeoutError),
        (errors.PublishTimeout, TimeoutError),
        (errors.WouldDeadlock, RuntimeError),
        (errors.PayloadError, TypeError),
        (errors.DriftError, errors.ClockError),
        (errors.UnsupportedError, NotImplementedError),
    ],
)
def test_an_error_is_also_what_python_calls_it(error_class, builtin):
    assert issubclass(error_class, builtin)


def test_a_configuration_error_lists_every_problem_with_its_place():
    error = errors.ConfigurationError(
        problems=[
            ("plant.toml", 3, 7, "unknown key 'capcity'", "did you mean 'capacity'?"),
            ("plant.toml", 0, 0, "no source", None),
        ]
    )
    assert str(error).splitlines() == [
        "2 problems in the configuration",
        "  plant.toml:3:7: unknown key 'capcity' (did you mean 'capacity'?)",
        "  plant.toml: no source",
    ]
    assert error.problems[0].line == 3
