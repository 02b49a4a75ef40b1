"""Images: bytes to upright RGB pixels within limits, and pixels to the network's input with the way back."""

from __future__ import annotations

from boxmill.images.antialias import reference_antialias
from boxmill.images.crop import check_resize
from boxmill.images.decode import DecodeLimits, configure_opencv, decode
from boxmill.images.header import ImageHeader, read_header
from boxmill.images.letterbox import geometry, preprocess, tensor_shape
from boxmill.images.reference import reference_letterbox

__all__ = [
    "DecodeLimits",
    "ImageHeader",
    "check_resize",
    "configure_opencv",
    "decode",
    "geometry",
    "preprocess",
    "read_header",
    "reference_antialias",
    "reference_letterbox",
    "tensor_shape",
]
