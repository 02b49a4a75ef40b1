"""Scenes as `boxmill demo scenes` writes them, turned into training batches."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from training.losses import Truth

LEAST_SEEN = 0.4  # share of a box that a crop must leave, or the box is not asked for
LEAST_SIDE = 4.0  # pixels
ZOOM = (0.7, 1.7)  # of a scene that would fill the network's input at 1
FITTING = 0.9  # of a crop's side: the most that the thing in its middle takes, every second time


@dataclass(frozen=True)
class Picture:
    path: Path
    boxes: np.ndarray  # (N, 4) float32 xyxy in pixels
    classes: np.ndarray  # (N,) int64


def read_scenes(folders: list[Path]) -> tuple[list[Picture], list[str]]:
    """Every picture of several folders, and the names of the classes in the order of their numbers."""
    pictures: list[Picture] = []
    names: list[str] = []
    for folder in folders:
        truth = json.loads((folder / "ground_truth.coco.json").read_text(encoding="utf-8"))
        kinds = sorted(truth["categories"], key=lambda kind: kind["id"])
        number = {kind["id"]: index for index, kind in enumerate(kinds)}
        here = [kind["name"] for kind in kinds]
        if names and here != names:
            raise SystemExit(f"{folder} has other classes than the folders before it")
        names = here
        found: dict[int, list[tuple[list[float], int]]] = {image["id"]: [] for image in truth["images"]}
        for box in truth["annotations"]:
            if not box.get("iscrowd"):
                found[box["image_id"]].append((box["bbox"], number[box["category_id"]]))
        for image in truth["images"]:
            boxes = np.array([box for box, _ in found[image["id"]]], np.float32).reshape(-1, 4)
            boxes[:, 2:] += boxes[:, :2]
            classes = np.array([kind for _, kind in found[image["id"]]], np.int64)
            pictures.append(Picture(folder / image["file_name"], boxes, classes))
    return pictures, names


class Crops(Dataset):
    """Endless random crops: item i is drawn from (seed, i) alone, so that a training can be repeated."""

    def __init__(self, pictures: list[Picture], side: int, full: int, seed: int, count: int) -> None:
        """`side`: pixels of a crop; `full`: the longer side that the whole picture has at zoom 1."""
        self.pictures, self.side, self.full, self.seed, self.count = pictures, side, full, seed, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        random = np.random.default_rng((self.seed, index))
        picture = self.pictures[random.integers(len(self.pictures))]
        pixels = cv2.imread(str(picture.path), cv2.IMREAD_COLOR)
        if pixels is None:
            raise OSError(f"cannot read {picture.path}")
        pixels, boxes = _zoomed_crop(pixels, picture.boxes, self.side, self.full, random)
        seen = _seen(boxes, self.side)
        boxes = boxes[seen].clip(0, self.side)
        if random.random() < 0.5:
            pixels = pixels[:, ::-1]
            boxes = np.stack([self.side - boxes[:, 2], boxes[:, 1], self.side - boxes[:, 0], boxes[:, 3]], 1)
        return _tinted(pixels, random), boxes, picture.classes[seen]


def _zoomed_crop(
    pixels: np.ndarray, boxes: np.ndarray, side: int, full: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A window of side x side pixels around some box or anywhere, grey where the picture ends; and the boxes in it."""
    height, width = pixels.shape[:2]
    zoom = full / max(height, width) * float(np.exp(random.uniform(*np.log(ZOOM))))
    middle, reach = random.uniform(0, 1, 2) * (width, height), 0.0
    if len(boxes) and random.random() < 0.8:
        box = boxes[random.integers(len(boxes))]
        if random.random() < 0.5:
            zoom = min(zoom, FITTING * side / float((box[2:] - box[:2]).max()))
        middle, reach = (box[:2] + box[2:]) / 2, 0.35
    size = np.array([width, height]) * zoom
    middle = middle * zoom + random.uniform(-reach, reach, 2) * side
    spare = np.maximum(size - side, 0)  # a window as full of picture as can be
    start = np.clip(middle - side / 2, 0, spare) - np.where(size < side, random.uniform(0, 1, 2) * (side - size), 0)
    matrix = np.array([[zoom, 0, -start[0]], [0, zoom, -start[1]]])
    how = cv2.INTER_AREA if zoom < 0.7 else cv2.INTER_LINEAR
    if how == cv2.INTER_AREA:  # warpAffine knows no averaging: shrink first
        small = cv2.resize(pixels, None, fx=zoom, fy=zoom, interpolation=how)
        matrix = np.array([[1.0, 0, -start[0]], [0, 1, -start[1]]])
        pixels = small
    window = cv2.warpAffine(pixels, matrix, (side, side), flags=cv2.INTER_LINEAR, borderValue=(114, 114, 114))
    return window, boxes * zoom - np.tile(start, 2).astype(np.float32)


def _seen(boxes: np.ndarray, side: int) -> np.ndarray:
    inside = boxes.clip(0, side)
    extent = inside[:, 2:] - inside[:, :2]
    whole = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return (extent.min(1, initial=np.inf) >= LEAST_SIDE) & (extent.prod(1) >= LEAST_SEEN * whole)


def _tinted(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(3, H, W) RGB bytes with another brightness, contrast and colour."""
    gain = random.uniform(0.75, 1.25) * random.uniform(0.92, 1.08, 3)
    table = np.arange(256)[:, None] * gain + random.uniform(-20, 20)
    if random.random() < 0.1:
        pixels = np.repeat(pixels.mean(2, keepdims=True), 3, 2).astype(np.uint8)
    changed = cv2.LUT(np.ascontiguousarray(pixels), table.clip(0, 255).astype(np.uint8)[None])
    return np.ascontiguousarray(changed[..., ::-1].transpose(2, 0, 1))


def collate(items: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[Tensor, Truth]:
    most = max(len(classes) for _, _, classes in items)
    boxes = torch.zeros(len(items), most, 4)
    classes = torch.zeros(len(items), most, dtype=torch.int64)
    valid = torch.zeros(len(items), most, dtype=torch.bool)
    for place, (_, box, kind) in enumerate(items):
        boxes[place, : len(kind)] = torch.from_numpy(np.ascontiguousarray(box, np.float32))
        classes[place, : len(kind)] = torch.from_numpy(kind)
        valid[place, : len(kind)] = True
    images = torch.from_numpy(np.stack([pixels for pixels, _, _ in items]))
    return images, Truth(boxes, classes, valid)
