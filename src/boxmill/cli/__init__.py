"""The command line: one file for each command. The only code that prints."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from boxmill import __version__
from boxmill.errors import BoxmillError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_COMMANDS = ("run", "doctor", "export", "lab", "eval", "demo", "report", "convert", "compare")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `boxmill`; ends the process with one of the exit codes of FORMATS."""
    if sys.platform == "win32":
        sys.exit("boxmill runs on Linux and macOS; on Windows, install it inside WSL2")
    sys.exit(run_command(sys.argv[1:] if arguments is None else list(arguments)))


def run_command(arguments: list[str]) -> int:
    """Runs one command line and returns its exit code."""
    from cyclopts import App, CycloptsError, Parameter

    from boxmill.cli.compare import compare
    from boxmill.cli.convert import convert
    from boxmill.cli.demo import demo
    from boxmill.cli.doctor import doctor
    from boxmill.cli.eval import evaluate_run
    from boxmill.cli.export import export
    from boxmill.cli.lab import lab
    from boxmill.cli.report import report
    from boxmill.cli.run import run

    app = App(
        name="boxmill",
        help="Images in, boxes out: run a detector over many images, exactly, at the machine's speed.",
        version=__version__,
        result_action="return_value",
        suppress_keyboard_interrupt=False,  # it would exit with 130
        default_parameter=Parameter(show_default=False),
    )
    app.command(run)
    app.command(doctor)
    app.command(export)
    app.command(lab)
    app.command(evaluate_run, name="eval")
    app.command(demo)
    app.command(report)
    app.command(convert)
    app.command(compare)
    try:
        code = app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return _fail(f"{error} Try: boxmill {_command(arguments)}--help", 2)
    except BoxmillError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:  # before the work or after it, where nothing is under way that could be finished
        resumed = _command(arguments) == "run "
        return _fail(f"interrupted{'; the same command goes on where it stopped' if resumed else ', not finished'}", 5)
    return code if isinstance(code, int) else 0


def _command(arguments: list[str]) -> str:
    return f"{arguments[0]} " if arguments and arguments[0] in _COMMANDS else ""


def _fail(message: str, code: int) -> int:
    print(f"boxmill: {message}", file=sys.stderr)
    return code
