"""Post-processing of tensors on a GPU in Triton: exact, in static shapes, without waiting for the device.

`postprocess` computes what `boxmill.post.reference` defines, bit for bit, from heads in float32, float16 or bfloat16;
it can be captured in a CUDA graph. `nms` is the same for boxes that are decoded already; `boxmill.post.nms` and
`boxmill.post.batched_nms` call it for tensors on a device.

Triton compiles each kernel when it is first needed, some seconds in all, and caches the result in ~/.triton; it needs
a C compiler for its launcher, once.
"""

from __future__ import annotations

from boxmill.errors import UsageError

try:
    import torch  # noqa: F401  (only to say what is missing)
    import triton  # noqa: F401
except ModuleNotFoundError as error:
    raise UsageError(
        f"post-processing on a GPU needs torch and triton, and {error.name} is not installed: "
        "pip install 'boxmill[gpu]', or bring the tensors to the CPU"
    ) from error

from boxmill.post.gpu.boxes import DeviceKept, batched_nms, nms
from boxmill.post.gpu.detections import DeviceDetections, places, unpack
from boxmill.post.gpu.postprocess import postprocess

__all__ = ["DeviceDetections", "DeviceKept", "batched_nms", "nms", "places", "postprocess", "unpack"]
