"""The folder of a run."""

from __future__ import annotations

from pathlib import Path

from boxmill.errors import OutputError

__all__ = ["create_run_directory"]


def create_run_directory(project: Path, name: str) -> Path:
    """Makes `project/name`, or `name2`, `name3`, … where that exists.

    Raises:
        OutputError: the folder cannot be made.
    """
    number = 1
    while True:
        directory = project / (name if number == 1 else f"{name}{number}")
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            if not project.is_dir():
                raise OutputError(f"cannot write to {str(project)!r}: it is not a folder") from None
            number += 1
        except OSError as error:
            raise OutputError(f"cannot make the run directory {str(directory)!r}: {error.strerror}") from error
        else:
            return directory
