from __future__ import annotations

import pytest
from onnx_writer import ULTRALYTICS, YOLOV5, summary

from boxmill.errors import ModelError
from boxmill.models.exporter import Exporter, read_exporter


def read(metadata: dict[str, str]) -> Exporter:
    return read_exporter(summary([1, 3, 640, 640], [1, 84, 8400], metadata))


def test_ultralytics() -> None:
    exporter = read(ULTRALYTICS)
    assert exporter.kind == "ultralytics"
    assert exporter.names == tuple(f"thing {index}" for index in range(80))
    assert (exporter.stride, exporter.imgsz, exporter.task, exporter.channels) == (32, (640, 640), "detect", 3)
    assert not exporter.end2end


def test_yolov5_and_yolov9() -> None:
    assert read(YOLOV5) == Exporter("yolov5", ("person", "vehicle", "animal"), 32)
    assert read({"stride": "32.0", "names": "['a', 'b']"}).names == ("a", "b")
    assert read({"stride": "[8, 16, 64]", "names": "['a']"}).stride == 64
    assert read({"stride": "32", "names": "{0: 7}"}).names == ("7",)


def test_other_metadata_is_left_alone() -> None:
    assert read({}) == Exporter()
    assert read({"names": "no literal"}) == Exporter()


def test_selection_inside_the_network() -> None:
    assert read({**ULTRALYTICS, "end2end": "True"}).end2end
    assert read({**ULTRALYTICS, "args": "{'nms': True}"}).end2end
    assert read({**ULTRALYTICS, "imgsz": "640"}).imgsz == (640, 640)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("names", "{0: 'a', 2: 'b'}"),
        ("names", "{'0': 'a'}"),
        ("names", "[]"),
        ("names", "{}"),
        ("names", "[None]"),
        ("names", "__import__('os')"),
        ("names", "(" * 5000),
        ("names", "-" * 100_000 + "1"),
        ("names", "{[]: 1}"),
        ("names", "9" * 5000),
        ("names", "a\0b"),
        ("stride", "0"),
        ("stride", "32.5"),
        ("stride", "True"),
        ("stride", "1e999"),
        ("stride", "[]"),
        ("imgsz", "[640]"),
        ("imgsz", "[640, -1]"),
        ("imgsz", "[640, 640.5]"),
        ("imgsz", "big"),
        ("channels", "'3'"),
        ("args", "{"),
        ("end2end", "perhaps"),
    ],
)
def test_nonsense_names_the_key(key: str, value: str) -> None:
    with pytest.raises(ModelError, match=f"metadata '{key}'") as caught:
        read({**ULTRALYTICS, key: value})
    assert len(str(caught.value)) < 300
