"""Pure post-processing: raw network outputs to final boxes, needing nothing but numpy."""

from __future__ import annotations

from boxmill.post.nms import batched_nms, nms
from boxmill.post.postprocess import Postprocessor
from boxmill.post.soft import soft_nms

__all__ = ["Postprocessor", "batched_nms", "nms", "soft_nms"]
