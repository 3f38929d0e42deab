"""Run files: what is read, what is refused and where, and what the command line sets."""

from __future__ import annotations

import inspect
import os
import string
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronofabric._core.settings import parse_toml
from chronofabric.errors import ConfigurationError
from chronofabric.fabric.named import named_object
from chronofabric.fabric.settings import load
from chronofabric.fabric.settings.assembly import build
from chronofabric.fabric.settings.loading import LATER_SECTIONS
from chronofabric.fabric.settings.models import SINKS, SOURCES, FilteredSection, RealtimeSection
from chronofabric.scheduler import Realtime

SOURCE = '[[source]]\nkind = "host"\nprefix = "tick"\nrate = "10 Hz"\n'


@pytest.fixture
def write(tmp_path):
    def written(text: str, name: str = "run.toml") -> Path:
        file = tmp_path / name
        file.write_text(text, encoding="utf-8")
        return file

    return written


def problems(file: Path, *overrides: str) -> list[tuple]:
    with pytest.raises(ConfigurationError) as raised:
        load(file, overrides)
    return [(problem.line, problem.column, problem.message, problem.suggestion) for problem in raised.value.problems]


# The parser -----------------------------------------------------------------------------------------------------------


def test_positions_count_lines_and_characters_from_one():
    values, places, keys = parse_toml('[a]\nkey = "é" # umlaut\n"ü" = [1, 22]\n', "x")
    assert values == {"a": {"key": "é", "ü": [1, 22]}}
    assert places["a",] == (1, 1, 4)
    assert (keys["a", "key"], places["a", "key"]) == ((2, 1, 4), (2, 7, 10))
    assert (keys["a", "ü"], places["a", "ü", 1]) == ((3, 1, 4), (3, 11, 13))


def test_a_value_over_several_lines_ends_with_its_first():
    _, places, _ = parse_toml('text = """\none\ntwo"""\n', "x")
    assert places["text",] == (1, 8, 11)


def test_tables_of_an_array_stand_where_their_headers_do():
    values, places, keys = parse_toml("[[a]]\nx = 1\n\n[[a]]\nx.y = 2\n", "x")
    assert values == {"a": [{"x": 1}, {"x": {"y": 2}}]}
    assert places["a", 1] == (4, 1, 6)
    assert keys["a", 1, "x", "y"] == (5, 3, 4)


@pytest.mark.parametrize(
    "line", ["x = 1979-05-27T07:32:00Z", "x = 1979-05-27", "x = 07:32:00.5", "x = 1979-05-27 07:32:00"]
)
def test_instants_are_those_of_the_standard_library(line):
    assert parse_toml(line, "x")[0] == tomllib.loads(line)


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [("a = \n", 1, 5), ("[a\n", 1, 3), ("a = 1\na = 2\n", 2, 1), ("x = 1\r\ny = é\r\n", 2, 5), ("a = 23:59:60", 1, 5)],
)
def test_what_is_not_toml_is_refused_at_its_place(text, line, column):
    with pytest.raises(ConfigurationError) as raised:
        parse_toml(text, "plant.toml")
    (problem,) = raised.value.problems
    assert (problem.file, problem.line, problem.column) == ("plant.toml", line, column)


@given(st.text(alphabet=st.sampled_from(string.printable + "é😀\x00"), max_size=80))
def test_any_text_is_read_as_the_standard_library_reads_it_or_refused(text):
    try:
        expected = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        expected = None  # TOML 1.1 allows more than the standard library knows
    try:
        values, places, keys = parse_toml(text, "x")
    except ConfigurationError:
        assert expected is None
        return
    assert expected is None or repr(values) == repr(expected)
    assert all(line >= 1 and 1 <= column < end for line, column, end in [*places.values(), *keys.values()])


def test_nesting_is_bounded():
    with pytest.raises(ConfigurationError, match="recursion"):
        parse_toml("a = " + "[" * 100_000, "x")


# What is refused ------------------------------------------------------------------------------------------------------


def test_every_problem_is_named_at_once_in_the_order_of_the_file(write):
    file = write(
        '[node]\nnmae = "x"\n'
        '[[source]]\nkind = "hots"\n'
        '[[source]]\nkind = "file"\npath = "missing.csv"\ntopic = "a/*"\nspeed = "mx"\n'
        '[[guard]]\nname = "g"\non = "a/**b"\nwhen = "value > > 3"\n'
        '[[gaurd]]\nname = "h"\n'
    )
    found = problems(file)
    assert [(line, column) for line, column, _, _ in found] == [
        (2, 1), (4, 8), (7, 8), (8, 9), (9, 9), (12, 9), (13, 17), (14, 3),
    ]  # fmt: skip
    assert found[0][2:] == ("unknown key 'nmae'", "did you mean 'name'?")
    assert found[1][2:] == ("'hots' is not a kind of source", "did you mean 'host'?")
    assert "missing.csv' is not there" in found[2][2]
    assert found[4][3] == "did you mean 'max'?"
    assert found[7][2:] == ("unknown table 'gaurd'", "did you mean 'guard'?")


def test_the_text_of_the_error_points_at_the_place(write):
    file = write(SOURCE + '[[guard]]\nname = "hot"\non = "tick"\nwhen = "value >> 3"\n')
    with pytest.raises(ConfigurationError) as raised:
        load(file)
    lines = str(raised.value).splitlines()
    assert lines[0] == f"{file}: 1 problem"
    assert lines[1].startswith(f"{file}:8:")
    assert lines[2] == '    when = "value >> 3"'
    caret = lines[3].index("^")
    assert lines[2][caret:] == '> 3"'
    assert "expected" in lines[3]


@pytest.mark.parametrize("section", LATER_SECTIONS)
def test_what_later_versions_build_is_refused_as_not_in_this_version(write, section):
    header = f"[[{section}]]" if section == "analysis" else f"[{section}]"
    found = problems(write(f"{SOURCE}{header}\n"))
    assert [(line, message) for line, _, message, _ in found] == [(5, f"'{section}' is not in this version")]


@pytest.mark.parametrize(
    ("guard", "message"),
    [
        ('when = "x > 1"', "the guard has neither 'on' nor 'signals'"),
        ('on = "a"', "the guard has neither 'when' nor 'must'"),
        ('on = "a"\nwhen = "x > 1"\nmust = "x > 1"', "'when' and 'must' are both given"),
        ('on = "a"\nsignals = { x = "a" }\nwhen = "x > 1"', "'on' and 'signals' are both given"),
        ('signals = { x = "a" }\nwhen = "x + y > 1"', "the formula asks for 'y', which 'signals' does not have"),
        ('signals = { x = "a", y = "b" }\nwhen = "x > 1"', "the formula does not ask for 'y'"),
        ('on = "a"\nwhen = "x > 1"\nhysteresis = -1', "-1 is out of range"),
        ('on = "a"\nwhen = "x > 1"\nhysteresis = nan', "nan is out of range"),
        ('on = "a"\nwhen = "x > 1"\nmax_samples = 0', "0 is out of range"),
        ('on = "a"\nwhen = "x > 1"\nmax_samples = "many"', "text ('many') where a whole number belongs"),
        ('on = "a"\nwhen = "x > 1"\ndeadline = "5 sec"', "'5 sec': 'sec' is not a unit of time"),
        ('on = "a"\nwhen = "x > 1"\npublish = "a//b"', "'a//b'"),
        ('on = { rgx = "a" }\nwhen = "x > 1"', "a table where a topic pattern belongs"),
        ('on = { regex = "(" }\nwhen = "x > 1"', "("),
        ('on = "a"\nwhen = "x > 1"\naction = { kind = "shout" }', "'shout' is not a kind of action"),
        ('on = "a"\nwhen = "x > 1"\naction = "log"', "text where a table belongs"),
        ('on = "a"\nwhen = "x > 1"\naction = { kind = "command", command = [] }', "[] is too short"),
        ('on = "a"\nwhen = "x > 1"\naction = { kind = "python", target = "math:flor" }', "module 'math' has no 'flor'"),
        (
            'on = "a"\nwhen = "x > 1"\naction = { kind = "python", target = "nothere:f" }',
            "there is no module 'nothere'",
        ),
    ],
)
def test_a_guard_that_cannot_work_is_refused(write, guard, message):
    found = problems(write(f'{SOURCE}[[guard]]\nname = "g"\n{guard}\n'))
    assert len(found) == 1
    assert message in found[0][2]
    assert found[0][0] >= 5


def test_a_sink_says_which_events_it_gets(write, tmp_path):
    filters = 'where = "value > 1"\nsample = 2\nrate_limit = "10/s"\nthrottle = "1 ns"\ndebounce = "1 ns"\n'
    path = str(tmp_path / "out.ndjson")
    fabric = build(load(write(f"{SOURCE}[[sink]]\nkind = \"ndjson\"\npath = '{path}'\n{filters}")))
    for value in (0, 2, 3):
        fabric.publish("a", value, time=value)
    books = fabric.report().subscriptions[0]
    assert (books["offered"], books["filtered"], books["pending"]) == (3, 2, 1)
    fabric.close(drain=0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('where = "once[0, 1 s](value > 1)"', "looks into the past"),
        ('where = "value >"', "is not a formula"),
        ("sample = 0", "above 0"),
        ('rate_limit = "0/s"', "above zero"),
        ('debounce = "0 s"', "1 ns"),
        ('wher = "value > 1"', "wher"),
    ],
)
def test_a_filter_that_cannot_be_is_refused_at_its_place(write, line, message):
    found = problems(write(f'{SOURCE}[[sink]]\nkind = "terminal"\n{line}\n'))
    assert [place for place, *_ in found] == [7]
    assert message in str(found[0])


def test_two_guards_of_one_name_are_refused(write):
    guard = '[[guard]]\nname = "g"\non = "a"\nwhen = "x > 1"\n'
    assert [(line, message) for line, _, message, _ in problems(write(SOURCE + guard + guard))] == [
        (10, "another guard is called 'g' already")
    ]


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        ('kind = "timer"\nrate = "10 Hz"', 1, "the key 'topic' is missing"),
        ('kind = "timer"\ntopic = "a"\nrate = "0 Hz"', 4, "a rate is above zero"),
        ('topic = "a"', 1, "the key 'kind' is missing"),
        ('kind = "host"\nprocesses = [0]', 3, "0 is out of range"),
        ('kind = "host"\nprocesses = [1.5]', 3, "a number (1.5) where a whole number belongs"),
        ('kind = "host"\nrate = "5 kHz"', 3, "at most 1000 times a second"),
        ('kind = "python"\ntarget = "math"', 3, "this does not name a Python object"),
        ('kind = "stdin"\ntopic = "a"\nformat = "xml"', 4, "'xml' is not possible here"),
    ],
)
def test_a_source_that_cannot_work_is_refused(write, source, line, message):
    found = problems(write(f"[[source]]\n{source}\n"))
    assert len(found) == 1
    assert found[0][0] == line
    assert message in found[0][2]


def test_a_column_that_the_data_file_does_not_have_is_refused(write):
    write("time,x\n2026-01-01T00:00:00Z,1\n", "data.csv")
    found = problems(write('[[source]]\nkind = "file"\npath = "data.csv"\ntopic = "a"\ntime = "when"\n'))
    assert len(found) == 1
    assert "no column 'when'" in found[0][2]


def test_a_data_file_of_a_similar_name_is_suggested(write):
    write("time,x\n", "data.csv")
    found = problems(write('[[source]]\nkind = "file"\npath = "dta.csv"\ntopic = "a"\ntime = "time"\n'))
    assert found[0][3] == "did you mean 'data.csv'?"


def test_a_path_that_no_file_can_have_is_refused(write):
    names = ["x" * 300, "a\\u0000b", "a\\u0000/b"]
    sources = "".join(f'[[source]]\nkind = "file"\npath = "{name}"\n' for name in names)
    sinks = "".join(f'[[sink]]\nkind = "ndjson"\npath = "{name}"\n' for name in names)
    found = problems(write(sources + sinks))
    assert [(line, column) for line, column, _, _ in found] == [(line, 8) for line in range(3, 19, 3)]
    assert "cannot be looked for" in found[0][2]


def test_tables_of_another_sort_are_refused_beside_a_source_that_drives_the_time(write):
    write("time,value\n2026-01-01T00:00:00Z,2\n", "data.csv")
    source = '[[source]]\nkind = "file"\npath = "data.csv"\ntopic = "a"\ntime = "time"\nspeed = "max"\n'
    assert [(line, column) for line, column, _, _ in problems(write(f"node = 5\n{source}"))] == [(1, 8)]


def test_a_name_that_is_no_text_is_refused(write):
    guard = '[[guard]]\nname = []\non = "tick"\nwhen = "value > 3"\n'
    assert [(line, column) for line, column, _, _ in problems(write(SOURCE + guard + guard))] == [(6, 8), (10, 8)]


def test_a_live_source_beside_one_that_drives_the_time_is_refused(write):
    write("time,x\n2026-01-01T00:00:00Z,1\n", "data.csv")
    file = '[[source]]\nkind = "file"\npath = "data.csv"\ntopic = "a"\ntime = "time"\nspeed = "max"\n'
    found = problems(write(f'[node]\nclock = "system"\n{file}{SOURCE}'))
    assert [line for line, _, _, _ in found] == [2, 10]


def test_outputs_that_exist_or_collide_or_have_no_folder_are_refused(write):
    write("", "there.ndjson")
    sinks = "".join(
        f'[[sink]]\nkind = "ndjson"\npath = "{path}"\n' for path in ("there.ndjson", "new", "new", "none/x.ndjson")
    )
    found = problems(write(SOURCE + sinks))
    assert [line for line, _, _, _ in found] == [7, 13, 16]


def test_a_run_without_sources_is_refused(write):
    assert "no [[source]]" in problems(write("[node]\n"))[0][2]


def test_a_file_that_is_missing_or_not_utf_8_is_refused_with_its_name(write, tmp_path):
    write(SOURCE, "plant.toml")
    assert problems(tmp_path / "plnt.toml") == [
        (0, 0, "cannot be read: No such file or directory", "did you mean 'plant.toml'?")
    ]
    file = tmp_path / "latin.toml"
    file.write_bytes(b"[node]\nname = '\xe9'\n")
    assert problems(file) == [(2, 0, "byte 15 is not UTF-8", "save the file as UTF-8")]


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text on other platforms")
def test_a_file_may_have_a_name_that_is_not_utf_8(tmp_path):
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.toml"))
    file.write_text(SOURCE, encoding="utf-8")
    assert load(file).file == str(file)
    file.write_text("[a\n", encoding="utf-8")
    with pytest.raises(ConfigurationError) as raised:
        load(file)
    assert str(raised.value).startswith(f"{tmp_path}/\ufffd.toml: 1 problem\n")


# What is set ----------------------------------------------------------------------------------------------------------


def test_overrides_replace_values_and_are_toml_or_text(write):
    file = write(f'{SOURCE}[[guard]]\nname = "hot.1"\non = "tick"\nwhen = "value > 3"\n')
    settings = load(
        file, ["node.name=plant", "source.host.rate=5 Hz", "source.0.prefix='tock'", 'guard."hot.1".hysteresis=2']
    )
    assert settings.node.name == "plant"
    section: Any = settings.sources[0][0]
    assert (section.rate, section.prefix) == ("5 Hz", "tock")
    assert settings.guards[0].section.hysteresis == 2.0


def test_what_is_no_single_value_is_text(write):
    settings = load(write(SOURCE), ['node.name=1\nb = \x7f"2'])
    assert settings.node.name == '1\nb = \x7f"2'


def test_an_override_can_empty_an_array_of_tables(write):
    settings = load(write(f'{SOURCE}[[sink]]\nkind = "terminal"\n'), ["sink=[]"])
    assert settings.sinks == ()


@pytest.mark.parametrize(
    ("override", "column", "message"),
    [
        ("node.nam=x", 1, "unknown key 'nam'"),
        ("source.0.rate=5", None, None),
        ("source.0.rate=5 Hx", 15, "'5 Hx': 'Hx' is not a unit of rate"),
        ("source.3.rate=5", 1, "there is nothing at 'source.3.rate' to set"),
        ("sorce.0.rate=5", 1, "unknown table 'sorce'"),
        ("node", 1, "'node' is not a setting"),
        ("=3", 1, "'=3' is not a setting"),
        ("a b=3", 1, "'a b=3' is not a setting"),
        ("#a=3", 1, "'#a=3' is not a setting"),
        ("[[a]]\nb=3", 1, "is not a setting"),
        ("[a]\n[b]\nc=3", 1, "is not a setting"),
        ("source.'²'.rate=5", 1, "there is nothing at 'source.².rate' to set"),
        ("\udcff=3", 1, "'?=3' is not UTF-8"),
        ("node.name=\udcff", 1, "'node.name=?' is not UTF-8"),
    ],
)
def test_a_wrong_override_is_refused_at_its_place(write, override, column, message):
    if message is None:
        assert load(write(SOURCE), [override]).sources[0][0].options()["rate"] == 5
        return
    with pytest.raises(ConfigurationError) as raised:
        load(write(SOURCE), ["node.name=first", override])
    (problem,) = raised.value.problems
    assert (problem.file, problem.line, problem.column) == ("--set", 2, column)
    assert message in problem.message


def test_paths_start_at_the_file_and_those_of_overrides_at_the_current_folder(write, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    file = write(f'{SOURCE}[[sink]]\nkind = "ndjson"\npath = "out.ndjson"\n')
    ((section, resolve),) = load(file).sinks
    assert section.make(resolve).path == tmp_path / "out.ndjson"
    ((section, resolve),) = load(file, ["sink.0.path=out.ndjson"]).sinks
    assert section.make(resolve).path.absolute() == tmp_path / "here" / "out.ndjson"


def test_a_node_says_how_long_python_may_keep_the_interpreter(write):
    before = sys.getswitchinterval()
    for text, seconds in (('"0.5 ms"', 0.0005), ("0.002", 0.002)):
        fabric = build(load(write(f"[node]\nswitch_interval = {text}\n{SOURCE}")))
        with fabric:
            assert sys.getswitchinterval() == pytest.approx(seconds)
        assert sys.getswitchinterval() == before
    fabric = build(load(write(SOURCE), ['node.switch_interval="1 ms"']))
    with fabric:
        assert sys.getswitchinterval() == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("value", "message", "suggestion"),
    [
        ('"5 s"', "'5 s'", "it must be from 1 us to 1 s"),
        ('"1 ns"', "'1 ns'", "it must be from 1 us to 1 s"),
        ('"fast"', "'fast'", "write it like '5 ms'"),
        ("true", "true or false (True) where a duration belongs", "write it like '5 ms' or '2 s'"),
    ],
)
def test_a_switch_interval_that_cannot_be_is_refused_at_its_place(write, value, message, suggestion):
    ((line, column, found, way),) = problems(write(f"[node]\nswitch_interval = {value}\n{SOURCE}"))
    assert (line, column) == (2, 19)
    assert message in found
    assert suggestion in way


def test_a_node_says_what_its_threads_ask_of_the_system(write):
    table = '[node.realtime]\nscheduling = "fifo"\npriority = 7\nprocessor = 1\nlock_memory = true\n'
    fabric = build(load(write(f"{table}{SOURCE}")))
    assert fabric.realtime == Realtime(scheduling="fifo", priority=7, processor=1, lock_memory=True)
    fabric = build(load(write(f'[node]\nrealtime = {{ scheduling = "deadline", runtime = "0.1 ms" }}\n{SOURCE}')))
    assert fabric.realtime == Realtime(scheduling="deadline", runtime="0.1 ms")
    assert build(load(write(SOURCE))).realtime == Realtime()
    assert build(load(write(SOURCE), ["node.realtime.processor=3"])).realtime.processor == 3


@pytest.mark.parametrize(
    ("lines", "place", "message", "suggestion"),
    [
        ('[node]\nrealtime = "fifo"', (2, 12), "text where a table belongs", "scheduling"),
        ('[node.realtime]\nschedulin = "fifo"', (2, 1), "unknown key 'schedulin'", "'scheduling'"),
        ('[node.realtime]\nscheduling = "fif"', (2, 14), "'fif'", "'fifo'"),
        ("[node.realtime]\npriority = 100", (2, 12), "priority is 100", "from 1 to 99"),
        ("[node.realtime]\npriority = true", (2, 12), "true or false (True) where a whole number", ""),
        ("[node.realtime]\nlock_memory = 1", (2, 15), "a whole number (1) where true or false", ""),
        ("[node.realtime]\nprocessor = -1", (2, 13), "processor is -1", "number of a processor"),
        ('[node.realtime]\nscheduling = "deadline"\nprocessor = 1', (3, 13), "processor is 1", "cannot be pinned"),
        (
            '[node.realtime]\nscheduling = "deadline"\nruntime = "2 ms"',
            (3, 11),
            "runtime is '2 ms'",
            "at most the period",
        ),
    ],
)
def test_what_cannot_be_asked_of_the_system_is_refused_at_its_place(write, lines, place, message, suggestion):
    ((line, column, found, way),) = problems(write(f"{lines}\n{SOURCE}"))
    assert (line, column) == place
    assert message in found
    assert suggestion in (way or "")


def test_functions_are_found_beside_the_file(write):
    write("def readings():\n    yield 1\n", "beside_this_run_file.py")
    settings = load(write('[[source]]\nkind = "python"\ntarget = "beside_this_run_file:readings"\ntopic = "a"\n'))
    assert settings.sources[0][0].options()["target"] == "beside_this_run_file:readings"


NOT_IN_FILES = {"descriptor", "seconds"}
"""What only programs can give."""


@pytest.mark.parametrize("section", sorted({*SOURCES.values(), *SINKS.values(), RealtimeSection}, key=repr))
def test_the_options_of_a_table_are_those_of_the_class(section):
    made: Any = named_object(section.made_by)
    parameters = set(inspect.signature(made).parameters) - NOT_IN_FILES
    fields = set(section.model_fields) - {"kind"}
    if issubclass(section, FilteredSection):
        fields -= set(FilteredSection.model_fields)
    assert parameters - {"format"} == fields - {"format"}
