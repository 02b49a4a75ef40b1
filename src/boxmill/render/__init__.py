"""Pictures of what was found: boxes with their names, legible at any size, in Chinese too."""

from __future__ import annotations

from boxmill.render.lettering import font_advice
from boxmill.render.painter import Painter, draw

__all__ = ["Painter", "draw", "font_advice"]
