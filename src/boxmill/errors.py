"""The error tree. Each class also inherits from the built-in that a Python user would catch.

    BoxmillError
    ├── UsageError (ValueError)         a setting or a flag is wrong               exit code 2
    ├── SourceError (OSError)           the source cannot be listed or is empty    exit code 3
    ├── ModelError (ValueError)         weights, card or labels do not fit         exit code 4
    ├── OutputError (OSError)           results cannot be written                  exit code 6
    └── ImageError (ValueError)         one image is bad; becomes a Failure, the run goes on

A message says what was expected, what came, and what to do.
"""

from __future__ import annotations

__all__ = ["BoxmillError", "ImageError", "ModelError", "OutputError", "SourceError", "UsageError"]


class BoxmillError(Exception):
    """Base of every error that boxmill raises on purpose."""

    exit_code = 1


class UsageError(BoxmillError, ValueError):
    """A setting, flag or argument is not acceptable."""

    exit_code = 2


class SourceError(BoxmillError, OSError):
    """The source does not exist, cannot be read, or holds no images."""

    exit_code = 3


class ModelError(BoxmillError, ValueError):
    """Weights, model card and labels are unreadable or do not fit together."""

    exit_code = 4


class OutputError(BoxmillError, OSError):
    """Results cannot be written."""

    exit_code = 6


class ImageError(BoxmillError, ValueError):
    """One image cannot be used; `code` is the short stable reason that the result carries."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
