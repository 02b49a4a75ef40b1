"""The detector in the package: one file, complete, of the demo's classes. How good it is, the demo itself shows."""

from __future__ import annotations

from importlib.resources import as_file, files

from boxmill.api import resolve_model
from boxmill.demo.classes import names, names_zh
from boxmill.demo.detector import ADVICE, class_names, shipped_detector
from boxmill.models import read_onnx
from boxmill.settings import settings
from boxmill.types import HeadSpec


def test_it_is_a_small_file_of_the_package() -> None:
    with as_file(files("boxmill.demo") / "detector.onnx") as path:
        assert path.samefile(shipped_detector())
    assert 100_000 < shipped_detector().stat().st_size <= 4_000_000


def test_it_takes_any_batch_and_shape_and_says_what_it_is() -> None:
    network = read_onnx(shipped_detector())
    (image,), (head,) = network.inputs, network.outputs
    assert [isinstance(side, int) for side in image.dims] == [False, True, False, False]
    assert [isinstance(side, int) for side in head.dims] == [False, True, False]
    assert head.dims[1] == 4 + len(names())
    assert {"description", "imgsz", "names", "stride", "task"} <= set(network.metadata)
    assert not network.external


def test_it_resolves_without_a_card_and_says_what_it_is_not() -> None:
    chosen = settings("pictures", {})
    resolution = resolve_model(chosen.model)
    assert resolution.spec.names == tuple(names()) == class_names()["en"]
    assert resolution.spec.head == HeadSpec("yolo", outputs=("output0",))
    assert (resolution.rect, resolution.warnings) == (True, (ADVICE,))
    chinese = resolve_model(settings("pictures", {"lang": "zh"}).model)
    assert chinese.spec.names == tuple(names_zh()) == class_names()["zh"]
    assert chinese.warnings == (ADVICE,)
