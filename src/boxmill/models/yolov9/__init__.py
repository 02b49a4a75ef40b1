"""YOLOv9 and GELAN in PyTorch, from a checkpoint's own structure. Needs torch; nothing imports this room by default."""

from __future__ import annotations

from boxmill.models.yolov9.cost import Cost, auxiliary_cost
from boxmill.models.yolov9.network import Network, build, fuse, load

__all__ = ["Cost", "Network", "auxiliary_cost", "build", "fuse", "load"]
