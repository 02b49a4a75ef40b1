"""The one place where an exception becomes the recorded failure of an input."""

from __future__ import annotations

from boxmill.errors import BoxmillError, ImageError
from boxmill.runtimes.device import OutOfDeviceMemory
from boxmill.types import Failure

__all__ = ["StageFailed"]


class StageFailed(Exception):
    """A stage raised; carries which one and why."""

    def __init__(self, stage: str, cause: Exception) -> None:
        super().__init__(f"{stage}: {cause}")
        self.stage, self.cause = stage, cause

    def failure(self, key: str) -> Failure:
        """The row that the input `key` gets."""
        code, message = _explain(self.cause)
        return Failure(key, self.stage, code, message)


def _explain(error: Exception) -> tuple[str, str]:
    if isinstance(error, ImageError):
        return error.code, str(error)
    if isinstance(error, FileNotFoundError):
        return "missing", "the file was there when the source was listed and is gone now"
    if isinstance(error, PermissionError):
        return "permission", "the file may not be read by this user"
    if isinstance(error, OSError):
        return "unreadable", error.strerror or str(error)
    if isinstance(error, OutOfDeviceMemory):
        return "memory", f"the device has not enough memory for this image, even alone: {error}"
    if isinstance(error, MemoryError):
        return "memory", "not enough memory for this image"
    if isinstance(error, BoxmillError):
        return "error", str(error)
    return "error", f"{type(error).__name__}: {error}"
