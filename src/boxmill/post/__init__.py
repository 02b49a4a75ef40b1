"""Pure post-processing: raw network outputs to final boxes, needing nothing but numpy."""

from __future__ import annotations

from boxmill.post.nms import nms
from boxmill.post.postprocess import Postprocessor

__all__ = ["Postprocessor", "nms"]
