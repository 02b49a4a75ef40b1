"""Writes trained weights as the ONNX file that `boxmill run` takes: batch, height and width open, metadata complete.

python -m training.export detector.pt detector.onnx
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from boxmill.convert.graph import export
from training.model import STRIDES, Detector, without_normalisation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, help="what training.train wrote, or its checkpoint")
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    arguments.target.write_bytes(exported(torch.load(arguments.weights, weights_only=True)))
    print(f"{arguments.target}: {arguments.target.stat().st_size / 1e6:.2f} MB")


def exported(saved: dict) -> bytes:
    """The ONNX file of what training saved: {"names", "average"}."""
    network = Detector(len(saved["names"])).eval()
    network.load_state_dict(saved["average"])
    metadata = {
        "description": "boxmill's demo: everyday things as emoji",
        "task": "detect",
        "names": str(dict(enumerate(saved["names"]))),
        "stride": str(max(STRIDES)),
        "strides": str(list(STRIDES)),
        "imgsz": "[640, 640]",
    }
    return export(without_normalisation(network), 4 + len(saved["names"]), metadata)


if __name__ == "__main__":
    main()
