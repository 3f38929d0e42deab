"""The tables of a run file: which keys they have and of what kind. Keys they do not have are refused.

The options of a source or sink are those of its class; a test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field  # noqa: TID253 - only run files import this module, when one is loaded

from chronofabric.fabric.named import named_object
from chronofabric.fabric.settings.kinds import (
    ConditionText,
    Duration,
    Factor,
    FormulaText,
    Patterns,
    Rate,
    Signals,
    SwitchDuration,
    TableRate,
    Target,
    Topic,
    TopicPattern,
)

Resolve: TypeAlias = Callable[[str], Path]
"""Turns the path that a key of the table holds into one from the current folder."""

Name: TypeAlias = Annotated[str, Field(min_length=1)]
Positive: TypeAlias = Annotated[int, Field(gt=0)]
NotNegative: TypeAlias = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """A table of a run file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)

    def options(self) -> dict[str, object]:
        """Return the keys that the file gives, without the kind: the keyword arguments of what is made from it."""
        given = self.model_fields_set - {"kind"}
        return {name: getattr(self, name) for name in type(self).model_fields if name in given}


class PartSection(Section):
    """A table that describes one source or sink."""

    made_by: ClassVar[str]
    """The class, as ``module:class``; it is imported when the part is made."""

    def make(self, resolve: Resolve) -> Any:
        """Make the part; a path of it goes through ``resolve``."""
        options = self.options()
        if "path" in options:
            options["path"] = resolve("path")
        part_class: Any = named_object(self.made_by)
        return part_class(**options)


class RealtimeSection(PartSection):
    """``[node.realtime]``."""

    made_by: ClassVar[str] = "chronofabric.scheduler:Realtime"

    scheduling: Literal["usual", "fifo", "deadline"] = "usual"
    priority: int = 50
    runtime: Duration = "200 us"
    period: Duration = "1 ms"
    processor: int | None = None
    lock_memory: bool = False
    awake_processors: bool = False


class NodeSection(Section):
    """``[node]``; ``realtime`` is checked before, by itself."""

    name: Name = "fabric"
    clock: Literal["counter", "system"] = "counter"
    folder: Name | None = None
    switch_interval: SwitchDuration | None = None
    realtime: RealtimeSection | None = None


class HostSection(PartSection):
    """``[[source]]`` of kind ``host``."""

    made_by: ClassVar[str] = "chronofabric.fabric.sources:HostSource"

    kind: Literal["host"]
    name: Name | None = None
    prefix: Topic = "host"
    rate: Rate = "50 Hz"
    processes: list[Positive] = []
    process_table: TableRate = False


class FileSection(PartSection):
    """``[[source]]`` of kind ``file``."""

    made_by: ClassVar[str] = "chronofabric.fabric.sources:FileSource"

    kind: Literal["file"]
    name: Name | None = None
    path: Name
    topic: Topic | None = None
    format: Literal["auto", "csv", "ndjson", "parquet", "arrow"] = "auto"
    time: Name | None = None
    time_format: Name = "iso"
    rate: Rate | None = None
    speed: Factor = "recorded"
    layout: Literal["rows", "events"] = "rows"
    on_error: Literal["stop", "skip"] = "stop"
    reorder_rows: NotNegative | None = None
    batch_rows: Positive = 8_192


class StdinSection(PartSection):
    """``[[source]]`` of kind ``stdin``."""

    made_by: ClassVar[str] = "chronofabric.fabric.sources:StdinSource"

    kind: Literal["stdin"]
    name: Name | None = None
    topic: Topic
    format: Literal["ndjson", "csv", "lines"] = "ndjson"
    on_error: Literal["stop", "skip"] = "stop"


class PythonSourceSection(PartSection):
    """``[[source]]`` of kind ``python``."""

    made_by: ClassVar[str] = "chronofabric.fabric.sources:PythonSource"

    kind: Literal["python"]
    name: Name | None = None
    target: Target
    topic: Topic | None = None
    rate: Rate | None = None


class TimerSection(PartSection):
    """``[[source]]`` of kind ``timer``."""

    made_by: ClassVar[str] = "chronofabric.fabric.sources:TimerSource"

    kind: Literal["timer"]
    name: Name | None = None
    topic: Topic
    rate: Rate


class FilteredSection(PartSection):
    """A table that describes one sink: which events it gets."""

    where: ConditionText | None = None
    sample: Positive | None = None
    rate_limit: Rate | None = None
    throttle: Duration | None = None
    debounce: Duration | None = None

    def options(self) -> dict[str, object]:
        """Return the keyword arguments of the sink itself."""
        return {name: value for name, value in super().options().items() if name not in FilteredSection.model_fields}

    def filters(self) -> dict[str, Any]:
        """Return the filters that the file gives, as `Fabric.add_sink` takes them."""
        given = self.model_fields_set & set(FilteredSection.model_fields)
        return {name: getattr(self, name) for name in sorted(given)}


class TerminalSection(FilteredSection):
    """``[[sink]]`` of kind ``terminal``."""

    made_by: ClassVar[str] = "chronofabric.fabric.sinks:TerminalSink"

    kind: Literal["terminal"]
    name: Name | None = None
    topics: Patterns = ["**"]
    stream: Literal["stderr", "stdout"] = "stderr"
    rate: Rate = "20/s"
    width: Annotated[int, Field(ge=40)] = 160


class NdjsonSection(FilteredSection):
    """``[[sink]]`` of kind ``ndjson``."""

    made_by: ClassVar[str] = "chronofabric.fabric.sinks:NdjsonSink"

    kind: Literal["ndjson"]
    name: Name | None = None
    topics: Patterns = ["**"]
    path: Name
    overwrite: bool = False


class ColumnsSection(FilteredSection):
    """``[[sink]]`` of kind ``parquet`` or ``arrow``."""

    made_by: ClassVar[str] = "chronofabric.fabric.sinks:ColumnsSink"

    kind: Literal["parquet", "arrow"]
    name: Name | None = None
    topics: Patterns = ["**"]
    path: Name
    overwrite: bool = False
    group_rows: Positive = 16_384

    def options(self) -> dict[str, object]:
        """Return the keyword arguments of the sink; its kind is the format, whatever the file is called."""
        return {**super().options(), "format": self.kind}


class PythonSinkSection(FilteredSection):
    """``[[sink]]`` of kind ``python``."""

    made_by: ClassVar[str] = "chronofabric.fabric.sinks:PythonSink"

    kind: Literal["python"]
    name: Name | None = None
    topics: Patterns = ["**"]
    target: Target
    batch: bool = False


class LogAction(Section):
    """``action`` of kind ``log``: a line in the log."""

    kind: Literal["log"]


class PublishAction(Section):
    """``action`` of kind ``publish``: an event on a topic."""

    kind: Literal["publish"]
    topic: Topic


class CommandAction(Section):
    """``action`` of kind ``command``: a program is started."""

    kind: Literal["command"]
    command: Annotated[list[Name], Field(min_length=1)]


class PythonAction(Section):
    """``action`` of kind ``python``: a function is called with the guard's event."""

    kind: Literal["python"]
    target: Target


Action: TypeAlias = LogAction | PublishAction | CommandAction | PythonAction


class GuardSection(Section):
    """``[[guard]]``; ``action`` is checked by its own kind, and is put in afterwards."""

    name: Name
    on: TopicPattern | None = None
    signals: Signals | None = None
    when: FormulaText | None = None
    must: FormulaText | None = None
    hysteresis: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    robustness: bool = False
    max_samples: Positive = 65_536
    deadline: Duration | None = None
    publish: Topic | None = None


SourceSection: TypeAlias = HostSection | FileSection | StdinSection | PythonSourceSection | TimerSection
SinkSection: TypeAlias = TerminalSection | NdjsonSection | ColumnsSection | PythonSinkSection

SOURCES: dict[str, type[SourceSection]] = {
    "host": HostSection,
    "file": FileSection,
    "stdin": StdinSection,
    "python": PythonSourceSection,
    "timer": TimerSection,
}
SINKS: dict[str, type[SinkSection]] = {
    "terminal": TerminalSection,
    "ndjson": NdjsonSection,
    "parquet": ColumnsSection,
    "arrow": ColumnsSection,
    "python": PythonSinkSection,
}
ACTIONS: dict[str, type[Action]] = {
    "log": LogAction,
    "publish": PublishAction,
    "command": CommandAction,
    "python": PythonAction,
}
