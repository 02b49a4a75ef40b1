"""boxmill: images in, boxes out, at the speed of the machine, with nothing lost."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
