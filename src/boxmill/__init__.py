"""boxmill: images in, boxes out, at the speed of the machine, with nothing lost.

`boxmill.load(weights).predict(image)` for one image after another, `for outcome in boxmill.run(source, weights)` for
many, `boxmill.post` for post-processing alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from boxmill.types import Detections, Failure, Outcome, Tags

if TYPE_CHECKING:
    from boxmill.model import load
    from boxmill.stream import run

__all__ = ["Detections", "Failure", "Outcome", "Tags", "__version__", "load", "run"]

__version__ = "0.1.0"

if not TYPE_CHECKING:  # a type checker would take it for any attribute

    def __getattr__(name: str) -> object:
        """`load` and `run` bring the whole engine, which `import boxmill.post` must not."""
        if name == "load":
            from boxmill.model import load

            return load
        if name == "run":
            from boxmill.stream import run

            return run
        raise AttributeError(f"module 'boxmill' has no attribute {name!r}")
