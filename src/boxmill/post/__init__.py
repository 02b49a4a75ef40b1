"""Pure post-processing: raw network outputs to final boxes and tags, needing nothing but numpy."""

from __future__ import annotations

from boxmill.post.nms import nms
from boxmill.post.postprocess import Postprocessor
from boxmill.post.tags import Tagger

__all__ = ["Postprocessor", "Tagger", "nms"]
