"""What cannot be asked of the system is refused where it is written, by name, with its value and the way out."""

from __future__ import annotations

import pytest

import chronofabric as cf
from chronofabric.scheduler import Realtime, Timers


@pytest.mark.parametrize(
    ("argument", "value", "hint"),
    [
        ("scheduling", "round-robin", "'usual', 'fifo' or 'deadline'"),
        ("priority", True, "from 1 to 99"),
        ("priority", 0, "from 1 to 99"),
        ("priority", 100, "from 1 to 99"),
        ("priority", 1.5, "from 1 to 99"),
        ("priority", "high", "from 1 to 99"),
        ("processor", True, "number of a processor"),
        ("processor", False, "number of a processor"),
        ("processor", -1, "number of a processor"),
        ("processor", 2**70, "from 0 to 1048575"),
        ("processor", "0", "number of a processor"),
        ("lock_memory", "no", "True or False"),
        ("lock_memory", None, "True or False"),
        ("awake_processors", 1, "True or False"),
        ("runtime", "0 us", "above zero"),
        ("runtime", "2 ms", "at most the period"),
        ("period", "soon", ""),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_asks_the_system(argument, value, hint):
    with pytest.raises(cf.ArgumentError) as caught:
        Realtime(**{argument: value})
    assert (caught.value.argument, caught.value.value) == (argument, value)
    assert str(caught.value).startswith(f"{argument} is {value!r}; ")
    assert hint in (caught.value.hint or "")


def test_the_bounds_themselves_are_accepted():
    for processor in (0, 2**20 - 1):
        assert Realtime(processor=processor).options()["processor"] == processor
    for priority in (1, 99):
        assert Realtime(scheduling="fifo", priority=priority).options()["priority"] == priority
    both = Realtime(lock_memory=True, awake_processors=True).options()
    assert (both["lock_memory"], both["awake_processors"]) == (True, True)


@pytest.mark.parametrize("value", ["fifo", 80, True, False, "", {"scheduling": "fifo"}, Realtime])
@pytest.mark.parametrize("make", [Timers, lambda **options: cf.Fabric("plant", **options)], ids=["Timers", "Fabric"])
def test_what_is_no_realtime_is_refused_by_everything_that_takes_one(make, value):
    with pytest.raises(cf.ArgumentError, match="it must be a Realtime, such as Realtime") as caught:
        make(realtime=value)
    assert (caught.value.argument, caught.value.value) == ("realtime", value)
    with make(realtime=None) as made:
        assert made is not None


def test_the_class_that_was_written_as_a_text_is_in_the_way_out():
    with pytest.raises(cf.ArgumentError, match=r"Realtime\(scheduling='deadline'\)"):
        Timers(realtime="deadline")  # type: ignore[arg-type]
