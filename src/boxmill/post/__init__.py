"""Pure post-processing: raw network outputs to final boxes, needing nothing but numpy."""

from __future__ import annotations

from boxmill.post.nms import nms

__all__ = ["nms"]
