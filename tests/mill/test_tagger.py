"""A tagger of 54,092 Chinese labels, from JPEG files to tags, against a pipeline that shares no code with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from taggers import CLASSES, MEAN, STD, TaggerNetwork, labels, make_tagger, write_tagger

from boxmill.images import decode, geometry, preprocess
from boxmill.post import Tagger
from boxmill.runtimes.openvino import OpenVinoOptions, OpenVinoRuntime
from boxmill.types import HeadSpec, InputSpec, ModelSpec, Tags

CROP = InputSpec(
    size=(224, 224), mean=MEAN, std=STD, resize="center_crop", crop_from=256, interpolation="bilinear", antialias=True
)
SQUARE = InputSpec(size=(224, 224), mean=MEAN, std=STD, resize="stretch", interpolation="bicubic", antialias=True)


@pytest.fixture(scope="module")
def network() -> TaggerNetwork:
    return make_tagger()


@pytest.fixture(scope="module")
def weights(network: TaggerNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tagger(tmp_path_factory.mktemp("tagger") / "tagger.onnx", network)


@pytest.fixture(scope="module")
def photos(assets: Path) -> list[Path]:
    return sorted((assets / "photos/train128").glob("*.jpg"))


def cropped(image: Image.Image) -> Image.Image:
    short, long = sorted(image.size)
    sides = [256 if side == short else int(256 * long / short) for side in image.size]
    left, top = (round((side - 224) / 2) for side in sides)
    resized = image.resize(sides, Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + 224, top + 224))


def squared(image: Image.Image) -> Image.Image:
    """Across, then down, a call each, as Pillow before 13 did in one: the new order moves scores by .004."""
    across = image.resize((224, image.height), Image.Resampling.BICUBIC)
    return across.resize((224, 224), Image.Resampling.BICUBIC)


def logits_of(path: Path, resize, network: TaggerNetwork) -> np.ndarray:
    """(CLASSES,) by Pillow and numpy alone."""
    with Image.open(path) as image:
        pixels = np.asarray(resize(ImageOps.exif_transpose(image).convert("RGB")), np.float32)
    values = (pixels / 255 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return network(values.transpose(2, 0, 1)[None])[0]


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64) - logits.max())
    return powers / powers.sum()


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def raw_outputs(photos: list[Path], weights: Path, spec: InputSpec) -> list[np.ndarray]:
    model = ModelSpec(spec, HeadSpec("classes", outputs=("logits",)), labels(), "tag")
    runtime = OpenVinoRuntime(weights, model, OpenVinoOptions("fp32"))
    raw = []
    for path in photos:
        frame = decode(path.read_bytes(), path.name)
        tensor = preprocess(frame, geometry(frame.pixels.shape[:2], spec), spec)
        raw.append(runtime.infer(tensor[None])[0].copy())
    runtime.close()
    return raw


def assert_best_five(found: Tags, scores: np.ndarray, name: str) -> None:
    expected = np.argsort(-scores, kind="stable")[:5]
    assert found.classes.tolist() == expected.tolist(), name
    assert np.abs(found.scores - scores[expected]).max() <= 1e-3, name


PIPELINES = {"crop": (CROP, cropped, "softmax", softmax), "square": (SQUARE, squared, "sigmoid", sigmoid)}


@pytest.mark.parametrize("name", PIPELINES)
def test_same_tags_as_a_pillow_pipeline(photos: list[Path], weights: Path, network: TaggerNetwork, name: str):
    assert len(photos) == 128
    spec, resize, activation, scores_of = PIPELINES[name]
    tagger = Tagger(HeadSpec("classes", activation=activation))
    best = set()
    for path, raw in zip(photos, raw_outputs(photos, weights, spec), strict=True):
        (found,) = tagger(raw)
        assert_best_five(found, scores_of(logits_of(path, resize, network)), path.name)
        assert found.nan == 0
        best.add(int(found.classes[0]))
    assert len(best) > 60  # pictures get tags of their own, or the comparison would say little


def test_every_label_is_another():
    names = labels()
    assert len(set(names)) == len(names) == CLASSES
    assert names[0] == "红木桌"


def test_onnx_and_numpy_are_the_same_network(tmp_path: Path):
    small = make_tagger(classes=50)
    images = np.random.default_rng(5).normal(size=(1, 3, 64, 64)).astype(np.float32)
    spec = ModelSpec(InputSpec(size=(64, 64)), HeadSpec("classes"), labels(50), "tag")
    runtime = OpenVinoRuntime(write_tagger(tmp_path / "small.onnx", small, 64), spec, OpenVinoOptions("fp32"))
    np.testing.assert_allclose(runtime.infer(images)[0], small(images), atol=1e-4)
