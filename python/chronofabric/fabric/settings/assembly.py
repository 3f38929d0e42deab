"""Building a node from the settings of a run, by the same methods that a program would use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chronofabric.fabric.node import Fabric
    from chronofabric.fabric.settings.loading import RunSettings
    from chronofabric.fabric.sources import ReplaySource, Source


def build(settings: RunSettings) -> Fabric:
    r"""Build the node that a run file describes. It is not started.

    Parameters
    ----------
    settings
        What `load` returned. Each call builds another node.

    Raises
    ------
    ChronofabricError
        Something changed since the file was checked: a data file that is gone, for instance.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from chronofabric.fabric.settings import build, load
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "plant.toml")
    ...     _ = file.write_text('node.name = "plant"\n[[source]]\nkind = "timer"\ntopic = "tick"\nrate = "10 Hz"')
    ...     fabric = build(load(file))
    >>> fabric
    Fabric('plant', clock='counter', topics=0, open)
    """
    from chronofabric.fabric.node import Fabric

    sources = [section.make(resolve) for section, resolve in settings.sources]
    drivers = [source for source in sources if getattr(source, "speed", None) == "max"]
    options: dict[str, Any] = {"clock": settings.node.clock, "switch_interval": settings.node.switch_interval}
    if settings.node.realtime is not None:
        options["realtime"] = settings.node.realtime.make(Path)
    if settings.folder is not None:
        options["folder"] = settings.folder
    if drivers:
        driver = _merged(drivers)
        sources = [driver]
        options["clock"] = _simulated_clock(driver)
    fabric = Fabric(settings.node.name, **options)
    # Guards and sinks come before sources, so that none of them misses the first event.
    for guard in settings.guards:
        watch: dict[str, Any] = guard.section.options()
        fabric.guard(**watch, action=guard.action.model_dump() if guard.action else None)
    for section, resolve in settings.sinks:
        fabric.add_sink(section.make(resolve), **section.filters())
    for source in sources:
        fabric.add_source(source)
    return fabric


def _merged(drivers: Sequence[Source]) -> ReplaySource:
    """Return the one source that drives the time: the recordings merged in the order of their time."""
    from chronofabric.fabric.sources import ReplaySource

    return ReplaySource(drivers)  # type: ignore[arg-type]


def _simulated_clock(driver: ReplaySource) -> object:
    from chronofabric.clock import SimulatedClock

    first_ns = driver.first_time_ns()
    return SimulatedClock(start=first_ns if first_ns is not None else 0)
