"""The command ``chronofabric``: run a run file, watch the demonstration, look at this machine, measure it.

Nothing heavy is imported before a command is chosen, so ``chronofabric --help`` answers at once.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from chronofabric.errors import ArgumentError, ChronofabricError

if TYPE_CHECKING:
    from chronofabric.apps.running import Outcome

EXIT_CODES = """Exit codes: 0 all is well (a run without --for ends with Ctrl-C, which is no failure); 1 a source or a
sink failed while running, the guard of the demo missed what it watches for, doctor found something broken, or a figure
of bench broke; 2 the run file or the command line cannot be used, and nothing was started; 130 (Ctrl-C) or 143
(SIGTERM) interrupted before the time of --for, the demo, bench or doctor was over, or again while closing; 141 nobody
reads the output any more."""

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_UNREAD = 0, 1, 2, 130, 141

app = typer.Typer(
    name="chronofabric",
    help="A real-time event fabric: sources, topics, guards and sinks in one process.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> NoReturn:
    """Run the command line; never shows a traceback for what a user can set right."""
    try:
        app()
    except ArgumentError as error:
        _fail(error, EXIT_USAGE)
    except SystemExit as end:
        if not isinstance(end.__context__, BrokenPipeError):  # of which Typer makes a plain failure
            raise
        # Whoever read the output is gone; what is still buffered must not be written when the interpreter exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(EXIT_UNREAD)
    except (ChronofabricError, OSError) as error:
        _fail(error, EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(EXIT_OK)


def _version(wanted: bool) -> None:
    if wanted:
        from chronofabric import __version__

        print(f"chronofabric {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Hold the options that belong to no command."""


@app.command(epilog=EXIT_CODES, short_help="Run a run file.")
def run(
    file: Annotated[str, typer.Argument(metavar="FILE.toml", help="What to run; see docs/run_files.md.")],
    duration: Annotated[
        str | None,
        typer.Option("--for", metavar="DURATION", help="Stop after this long, such as '20s' or '2 min'."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace a value of the file, such as source.0.rate='10 Hz'."),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Show nothing while it runs, and the report as one line of JSON."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show errors only.")] = False,
) -> None:
    """Run a file until Ctrl-C, the end of its sources, or the time of --for.

    Checks all of it first and names everything that is wrong at once. While it runs, a terminal shows a live table, any
    other output a line now and then. It ends with a report: books, percentiles, guards fired and how long after their
    cause.
    """
    from chronofabric.apps.running import carry_out, log_to_stderr
    from chronofabric.duration import nanoseconds
    from chronofabric.fabric.settings import build, load

    log_to_stderr(errors_only=quiet)
    duration_ns = None if duration is None else nanoseconds(duration, argument="--for", positive=True)
    fabric = build(load(file, settings or ()))
    outcome = carry_out(fabric, duration_ns=duration_ns, show=not (as_json or quiet))
    _conclude(outcome, as_json=as_json, quiet=quiet)


@app.command(epilog=EXIT_CODES, short_help="Watch this machine, burn a core, and catch it.")
def demo(
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Show nothing while it runs, and the report as one line of JSON."),
    ] = False,
    print_file: Annotated[
        bool,
        typer.Option("--print-file", help="Print the run file of the demonstration, to start your own from, and exit."),
    ] = False,
) -> None:
    """Watch this machine for ten seconds while a child process burns a core, and catch it; then keep deadlines.

    The host's own telemetry, 50 times a second, passes a guard in temporal logic; the report says how long after the
    sample that crossed the line the guard acted. For four more seconds it shows how late native timers and guards,
    functions and sources of Python are, without and beside a Python thread that keeps the interpreter busy.
    """
    from chronofabric.apps import demo as demonstration
    from chronofabric.apps.running import log_to_stderr

    if print_file:
        print(demonstration.run_file().read_text(encoding="utf-8"), end="")
        return
    log_to_stderr()
    outcome = demonstration.demonstrate(show=not as_json)
    _conclude(outcome, as_json=as_json, quiet=False)


@app.command(epilog=EXIT_CODES, short_help="Say what this machine allows, and how to improve it.")
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as one line of JSON.")] = False,
) -> None:
    """Look at this machine: interpreter, clocks, cores, rights, memory, and the packages beside chronofabric.

    Each finding has its evidence, what it means and the way to better. It is ok, limited, absent, or broken where
    chronofabric cannot do its main work, which alone makes the exit code 1. Nothing is changed.
    """
    from chronofabric.apps import doctor as report
    from chronofabric.apps.doctor.here import examine
    from chronofabric.apps.rendering import colours_wanted, terminal_width

    findings = examine()
    if as_json:
        print(json.dumps(report.document(findings)), flush=True)
    else:
        shown = report.lines(findings, width=terminal_width(), coloured=colours_wanted(sys.stdout))
        print("\n".join(shown), flush=True)
    raise typer.Exit(report.exit_code(findings))


@app.command(epilog=EXIT_CODES, short_help="Measure what this machine does, beside what is known.")
def bench(
    quick: Annotated[
        bool, typer.Option("--quick", help="One round on less work, in some seconds: a look, not a figure.")
    ] = False,
    lines_to: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write one line of JSON a figure to FILE as well.")
    ] = None,
    wanted: Annotated[str, typer.Option("--case", metavar="TEXT", help="Only figures with TEXT in their name.")] = "",
) -> None:
    """Measure throughput, latency and costs on this machine, beside the peers that are installed.

    Each figure is the median of nine rounds that alternate with those of its peer, and is compared with the last run,
    which is kept in your state folder. Progress goes to the standard error, the table to the standard output.
    """
    from chronofabric.apps.bench import measure

    raise typer.Exit(measure(quick=quick, wanted=wanted, lines_to=lines_to))


def _conclude(outcome: Outcome, *, as_json: bool, quiet: bool) -> NoReturn:
    from chronofabric.apps.rendering import report_lines, wrapped

    if as_json:
        print(json.dumps(outcome.document(), default=str), flush=True)
    elif not quiet:
        print("\n".join(["", *report_lines(outcome.report), "", *map(wrapped, outcome.findings)]).rstrip(), flush=True)
    raise typer.Exit(outcome.exit_code)


def _fail(error: Exception, code: int) -> NoReturn:
    print(f"chronofabric: {error}", file=sys.stderr)
    sys.exit(code)
