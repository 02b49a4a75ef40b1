"""What runs the network. Each adapter imports its library only when it is used."""

from __future__ import annotations

from boxmill.runtimes.base import RawOutput, Runtime

__all__ = ["RawOutput", "Runtime"]
