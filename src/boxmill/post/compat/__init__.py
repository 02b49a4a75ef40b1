"""The functions that people call today, with their signatures and results, computed by boxmill.

One changed import is all that a program needs::

    from boxmill.post.compat.torchvision import batched_nms, nms
    from boxmill.post.compat.yolov5 import non_max_suppression
    from boxmill.post.compat.yolov9 import non_max_suppression
    from boxmill.post.compat.ultralytics import non_max_suppression
    from boxmill.post.compat.opencv import NMSBoxes, NMSBoxesBatched

Every function is **exact** unless told otherwise: the arithmetic of `boxmill.post.reference`, classes compared as
integers, NaN dropped, no time limit. Where the original answers otherwise, its docstring says why, and
``like_original=True`` gives the original's answer.

torch tensors in give torch tensors out on the same device, through the torch that the caller has already imported;
arrays give arrays. On a GPU the torchvision and YOLO functions compute there where triton is installed (without
``like_original``, known ``labels`` and mask columns); other tensors on another device are copied to the CPU and the
results back. Either way the result is the same. float16 and bfloat16 convert
to float32 exactly; float64 is rounded to float32.
"""

from __future__ import annotations

from boxmill.post.compat import opencv, torchvision, ultralytics, yolov5, yolov9

__all__ = ["opencv", "torchvision", "ultralytics", "yolov5", "yolov9"]
