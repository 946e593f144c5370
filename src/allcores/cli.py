"""The command ``allcores``: ``compare`` and ``demo``; ``run`` is in ``program.py``.

What is the user's to mend (a name that cannot be found, no items, a job that fails) is one line on stderr
and exit code 2; no traceback.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from allcores.errors import UsageError

if TYPE_CHECKING:
    from allcores.comparison import Comparison

__all__ = ("app", "main")

_USAGE = 2
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it

# Click's own base of all it complains about. Newer typer carries a click inside, so no import reaches it in
# both.
_ClickError: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

app = typer.Typer(
    name="allcores",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 2 for what the user can mend, 130 for Ctrl-C.

    Args:
        argv: the arguments without the program's name; None: those of this process.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["run"]:  # what follows is a program's: nothing here is to read it, or to catch what it raises
        from allcores.program import run_command

        return run_command(words[1:])
    try:
        code = app(words, prog_name="allcores", standalone_mode=False)
    except (UsageError, _ClickError) as error:
        text = error.format_message() if hasattr(error, "format_message") else str(error)
        return _complain(text, _USAGE)
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted", _INTERRUPTED)
    except OSError as error:
        return _complain(str(error), _USAGE)
    if code == _INTERRUPTED:  # newer typer takes the KeyboardInterrupt for itself
        return _complain("interrupted", _INTERRUPTED)
    return code if isinstance(code, int) else 0


@app.callback(invoke_without_command=True)
def _allcores(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    """Which way is fastest for my function: serial, threads or processes?"""
    if version:
        import allcores

        typer.echo(f"allcores {allcores.__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("run", add_help_option=False)
def _run() -> None:
    """Run a program whose multiprocessing answers with allcores: see allcores run --help."""


@app.command("compare")
def _compare(
    target: Annotated[str, typer.Argument(metavar="MODULE:FUNCTION|FILE.py:FUNCTION", help="The job.")],
    arg: Annotated[list[str] | None, typer.Option(help="A further argument after the item; repeatable.")] = None,
    items: Annotated[int | None, typer.Option(metavar="N", help="The items are range(N).")] = None,
    over: Annotated[
        str | None,
        typer.Option(metavar="ITERABLE", help="The items: range(N), a literal, MODULE:NAME or FILE.py:NAME."),
    ] = None,
    times: Annotated[int | None, typer.Option(metavar="N", help="Rounds; else as many as fit a minute.")] = None,
    workers: Annotated[int | None, typer.Option(metavar="N", help="Else one for each usable core.")] = None,
    contexts: Annotated[str, typer.Option(help="What to compare, separated by commas.")] = "serial,thread,process",
    plot: Annotated[Path | None, typer.Option(metavar="out.png", help="Draw the outcome.")] = None,
    as_json: Annotated[Path | None, typer.Option("--json", metavar="out.json", help="Write all numbers.")] = None,
) -> None:
    """Run one job serially, in threads and in processes, and say which is fastest, and why.

    FUNCTION is called with one item (and the --arg values after it). Without --items and --over, items()
    beside the function gives the items.
    """
    from allcores.comparison import compare
    from allcores.comparison.targets import find_function, find_items, literal_or_text

    fn, module = find_function(target)
    _check_outputs(plot, as_json)  # before the long run, not after it
    names = tuple(name.strip() for name in contexts.split(",") if name.strip())
    further = tuple(map(literal_or_text, arg or ()))
    chosen = find_items(over, items, module)
    comparison = compare(fn, chosen, contexts=names, workers=workers, times=times, args=further)
    _say(comparison)
    _write(comparison, plot, as_json)


@app.command("demo")
def _demo(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the plots go.")] = Path("out"),
    times: Annotated[int | None, typer.Option(metavar="N", help="Rounds; else as many as fit a minute.")] = None,
    workers: Annotated[int | None, typer.Option(metavar="N", help="Else one for each usable core.")] = None,
) -> None:
    """Compare on real input: tokenize the standard library, then the classic job. Takes about a minute."""
    from allcores.comparison.demo import run_demo

    _check_writable(out / "tokenize_stdlib.png", out / "classic_job.png")
    run_demo(_say, out, times, workers)


def _say(what: Any) -> None:
    """Print to stdout: in colour on a terminal, plain text elsewhere."""
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(what, markup=False, highlight=False)
    else:
        typer.echo(str(what))


def _write(comparison: Comparison, plot: Path | None, as_json: Path | None) -> None:
    if plot is not None:
        _say(f"\nThe plot is in {comparison.plot(plot)}")
    if as_json is not None:
        as_json.parent.mkdir(parents=True, exist_ok=True)
        as_json.write_text(json.dumps(comparison.to_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        _say(f"\nThe numbers are in {as_json}")


def _check_outputs(plot: Path | None, as_json: Path | None) -> None:
    if plot is not None:
        from allcores.comparison.plot import check_format

        check_format(plot)
    _check_writable(plot, as_json)


def _check_writable(*paths: Path | None) -> None:
    # Looked at only: a job that fails must not leave an empty file behind.
    for path in filter(None, paths):
        there = next(place for place in (path, *path.absolute().parents) if place.exists())
        if (there == path) != path.is_file() or (there != path and not there.is_dir()):
            raise UsageError(f"{path} cannot be written: {there} is in the way")
        if not os.access(there, os.W_OK):
            raise UsageError(f"{path} cannot be written: no permission to write {there}")


def _complain(text: str, code: int) -> int:
    typer.echo(f"allcores: {' '.join(text.split())}", err=True)
    return code
