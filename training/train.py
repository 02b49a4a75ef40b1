"""Trains the demo's detector on scenes that `boxmill demo scenes` made.

    python -m training.train SCENES [SCENES ...] --out detector.pt [--steps 7000] [--start first.pt]

SCENES are folders with pictures and ground_truth.coco.json. The same seed, scenes, versions and machine give the same
weights. A checkpoint is kept every 500 steps; the same command goes on from it.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from training.data import Crops, collate, read_scenes
from training.losses import Truth, loss
from training.model import Detector

WARM_UP = 500  # steps
SAVE_EVERY = 500  # steps
KEEP = 0.9995  # of the averaged weights at each step


def main() -> None:
    arguments = parse()
    torch.manual_seed(arguments.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pictures, names = read_scenes(arguments.scenes)
    print(f"{len(pictures)} pictures, {len(names)} classes, on {device}", flush=True)
    model = Detector(len(names)).to(device, memory_format=torch.channels_last)
    if arguments.start:
        model.load_state_dict(torch.load(arguments.start, weights_only=True)["average"])
    average = copy.deepcopy(model).eval()
    optimizer = torch.optim.AdamW(groups(model), lr=arguments.rate, betas=(0.9, 0.99))
    checkpoint = arguments.out.with_suffix(".checkpoint")
    step = restored(checkpoint, model, average, optimizer) if checkpoint.exists() else 0
    crops = Crops(pictures, arguments.side, arguments.full, arguments.seed, arguments.steps * arguments.batch)
    left = Subset(crops, range(step * arguments.batch, len(crops)))
    ahead = 4 if arguments.loaders else None
    loader = DataLoader(left, arguments.batch, num_workers=arguments.loaders, collate_fn=collate, prefetch_factor=ahead)
    started, sums = time.perf_counter(), {"class": 0.0, "box": 0.0, "cells": 0.0}
    for images, truth in loader:
        for group in optimizer.param_groups:
            group["lr"] = arguments.rate * schedule(step, arguments.steps)
        parts = train_step(model, optimizer, images.to(device), truth.to(device), device)
        step += 1
        follow(average, model, step)
        for name, value in parts.items():
            sums[name] += value / 100
        if step % 100 == 0:
            shown = ", ".join(f"{name} {value:.3f}" for name, value in sums.items())
            print(f"step {step}/{arguments.steps}: {shown}; {time.perf_counter() - started:.0f} s", flush=True)
            sums = dict.fromkeys(sums, 0.0)
        if step % SAVE_EVERY == 0:
            save(checkpoint, step, names, model=model, average=average, optimizer=optimizer)
    torch.save({"names": names, "average": average.cpu().state_dict()}, arguments.out)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes", type=Path, nargs="+", help="folders that `boxmill demo scenes` wrote")
    parser.add_argument("--out", type=Path, required=True, help="where the weights go")
    parser.add_argument("--start", type=Path, help="weights of an earlier training; default: random ones")
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--side", type=int, default=384, help="pixels of a crop")
    parser.add_argument("--full", type=int, default=640, help="pixels of a whole picture's longer side, as in use")
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--loaders", type=int, default=1, help="processes that read pictures; 0: this one")
    return parser.parse_args()


def groups(model: nn.Module) -> list[dict[str, object]]:
    """Weight decay for kernels only: not for biases, scales and normalisation."""
    kernels = [value for value in model.parameters() if value.ndim > 1]
    others = [value for value in model.parameters() if value.ndim <= 1]
    return [{"params": kernels, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}]


def schedule(step: int, steps: int) -> float:
    """Share of the highest rate: a linear start, then half a cosine down to a hundredth."""
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    done = (step - WARM_UP) / max(1, steps - WARM_UP)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))


def train_step(
    model: Detector, optimizer: torch.optim.Optimizer, images: Tensor, truth: Truth, device: torch.device
) -> dict[str, float]:
    batch = (images.float() / 255).to(memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16):
        raw = model.raw(batch)
    total, parts = loss(*raw, truth)
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 10.0)
    optimizer.step()
    return parts


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, step: int) -> None:
    """Moves the averaged weights towards the model's, quickly at first."""
    keep = KEEP * (1 - math.exp(-step / 1000))
    latest = model.state_dict()
    for name, value in average.state_dict().items():
        new = latest[name]
        if value.dtype.is_floating_point:
            value.lerp_(new, 1 - keep)
        else:
            value.copy_(new)


def save(path: Path, step: int, names: list[str], **parts: nn.Module | torch.optim.Optimizer) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save({"step": step, "names": names, **{name: part.state_dict() for name, part in parts.items()}}, temporary)
    temporary.replace(path)


def restored(path: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    state = torch.load(path, weights_only=True)
    print(f"going on from step {state['step']} of {path}", flush=True)
    model.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"]


if __name__ == "__main__":
    main()
