"""A tagger made on the spot: any number of classes, Chinese labels, random weights, raw logits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = 54_092
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of pixels in 0-1

# How a thing looks, what it is made of, what it is: every class is another combination.
_LOOKS = "红橙黄绿青蓝紫黑白灰金银铜粉棕新旧大小高低长短宽窄圆方尖平深浅明暗冷暖软硬轻"
_STUFFS = "木石铁纸布丝棉麻皮毛竹藤草花叶果米麦豆茶酒油盐糖水火土沙冰雪云雨风雷星月日山"
_THINGS = "桌椅床柜门窗墙桥路车船灯钟镜刀剑弓箭琴鼓笛画书笔碗盘杯壶锅瓶盒箱包伞鞋帽衣裙"

_PATCH = 16  # pixels of a side
_CHANNELS = 16
_SHARPNESS = 4.0  # standard deviation of an image's logits: the best of 54,092 then has a softmax of about .15
_SELDOM = -16.0  # their mean: the best one's sigmoid is about .5


def labels(classes: int = CLASSES) -> tuple[str, ...]:
    """(classes,) different names, such as 红木桌."""
    most = len(_LOOKS) * len(_STUFFS) * len(_THINGS)
    if classes > most:
        raise ValueError(f"expected at most {most} classes, got {classes}")
    looks, stuffs = len(_LOOKS), len(_STUFFS)
    return tuple(
        _LOOKS[i % looks] + _STUFFS[i // looks % stuffs] + _THINGS[i // (looks * stuffs)] for i in range(classes)
    )


@dataclass(frozen=True, eq=False)
class TaggerNetwork:
    """Patches of 16 x 16 -> tanh of 16 convolutions -> their means in the four quarters -> length 1 -> logits."""

    kernels: np.ndarray  # (16, 3, 16, 16) float32
    weights: np.ndarray  # (classes, 64) float32
    bias: np.ndarray  # (classes,) float32

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """(B, 3, h, w) float32, sides multiples of 32 -> (B, classes) raw logits, without any runtime."""
        count, _, height, width = images.shape
        rows, columns = height // _PATCH, width // _PATCH
        patches = images.reshape(count, 3, rows, _PATCH, columns, _PATCH).transpose(0, 2, 4, 1, 3, 5)
        maps = np.tanh(
            patches.reshape(count, rows, columns, -1) @ self.kernels.reshape(_CHANNELS, -1).T
        )  # channels last
        quarters = maps.reshape(count, 2, rows // 2, 2, columns // 2, _CHANNELS).mean((2, 4))  # (B, 2, 2, 16)
        quarters = quarters.transpose(0, 3, 1, 2).reshape(count, -1)  # as Flatten has it
        directions = quarters / np.linalg.norm(quarters, axis=1, keepdims=True)  # (B, 64)
        return directions @ self.weights.T + self.bias


def make_tagger(classes: int = CLASSES, seed: int = 11) -> TaggerNetwork:
    """The same weights for the same arguments."""
    rng = np.random.default_rng(seed)
    kernels = rng.normal(0, 1, (_CHANNELS, 3, _PATCH, _PATCH)) / _PATCH
    kernels += rng.normal(0, 1, (_CHANNELS, 3, 1, 1)) / _PATCH**2  # of colour
    weights = rng.normal(0, _SHARPNESS, (classes, 4 * _CHANNELS))
    return TaggerNetwork(*(part.astype(np.float32) for part in (kernels, weights, rng.normal(_SELDOM, 0.1, classes))))


def write_tagger(path: Path, network: TaggerNetwork, size: int = 224) -> Path:
    """An ONNX file: `images` (batch, 3, size, size) -> `logits` (batch, classes); no metadata.

    Args:
        path: where to write it.
        network: what to write.
        size: side of the input in pixels, a multiple of 32.
    """
    half = size // _PATCH // 2
    nodes = [
        helper.make_node("Conv", ["images", "kernels"], ["conv"], strides=[_PATCH, _PATCH]),
        helper.make_node("Tanh", ["conv"], ["maps"]),
        helper.make_node("AveragePool", ["maps"], ["quarters"], kernel_shape=[half, half], strides=[half, half]),
        helper.make_node("Flatten", ["quarters"], ["features"]),
        helper.make_node("ReduceL2", ["features"], ["lengths"], axes=[1]),
        helper.make_node("Div", ["features", "lengths"], ["directions"]),
        helper.make_node("Gemm", ["directions", "weights", "bias"], ["logits"], transB=1),
    ]
    constants = [numpy_helper.from_array(getattr(network, name), name) for name in ("kernels", "weights", "bias")]
    graph = helper.make_graph(
        nodes,
        "tagger",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(network.bias)])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def write_labels(path: Path, classes: int = CLASSES) -> Path:
    """A JSON list of names."""
    path.write_text(json.dumps(labels(classes), ensure_ascii=False), encoding="utf-8")
    return path


CARD = f"""version: 1
task: tag
input: {{size: [224, 224], layout: NCHW, color: RGB, scale: 0.00392156862745098, mean: {list(MEAN)}, std: {list(STD)},
        resize: center_crop, crop_from: 256, interpolation: bilinear, antialias: true}}
head: {{type: classes, activation: softmax, outputs: [logits]}}
labels: labels_zh.json
"""  # for weights of `write_tagger` and a file labels_zh.json of `write_labels` beside it
