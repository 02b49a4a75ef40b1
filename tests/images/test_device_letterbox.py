"""The letterbox by PyTorch's operations against the native one: the same bits on a CPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from boxmill.images import geometry, preprocess
from boxmill.images.device import DeviceLetterbox, fits_device
from boxmill.types import Frame, InputSpec

CPU = torch.device("cpu")
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
SPECS = {
    "letterbox": InputSpec((96, 128)),
    "rect": InputSpec((96, 128), dynamic=True),
    "nhwc": InputSpec((96, 128), layout="NHWC"),
    "bgr": InputSpec((64, 64), color="BGR", scale=1.0, pad=114, mean=(103.53, 116.28, 123.675), std=(57.4, 57.1, 58.4)),
    "topleft": InputSpec((64, 96), resize="letterbox_topleft", rounding="floor"),
    "stretch": InputSpec((64, 96), resize="stretch", **IMAGENET),
    "crop": InputSpec((64, 64), resize="center_crop", crop_from=73),
}


def frames(sizes: list[tuple[int, int]], seed: int = 0) -> list[Frame]:
    rng = np.random.default_rng(seed)
    return [Frame(f"{n}", rng.integers(0, 256, (*size, 3), np.uint8)) for n, size in enumerate(sizes)]


def both(
    images: list[Frame], spec: InputSpec, rect: bool, dtype: torch.dtype = torch.float32
) -> tuple[np.ndarray, ...]:
    places = [geometry(image.source, spec, rect=rect) for image in images]
    expected = np.stack([preprocess(image, place, spec) for image, place in zip(images, places, strict=True)])
    out = torch.full(expected.shape, torch.nan, dtype=dtype)
    DeviceLetterbox(spec, CPU)([torch.from_numpy(image.pixels) for image in images], places, out)
    return out.float().numpy(), expected


@pytest.mark.parametrize("name", SPECS)
def test_a_batch_has_the_bits_of_the_native_letterbox(name: str) -> None:
    sizes = [(108, 192), (50, 40), (108, 192), (300, 200), (33, 64), (108, 192), (1, 1), (5, 700)]
    if name == "rect":
        sizes = [(108, 192), (216, 384), (108, 192), (54, 96), (54, 96)]  # of one aspect ratio: one shape
    found, expected = both(frames(sizes), SPECS[name], rect=name == "rect")
    assert found.tobytes() == expected.tobytes()


@given(
    size=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    network=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    resize=st.sampled_from(["letterbox", "letterbox_topleft", "stretch"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_any_size_has_the_bits_of_the_native_letterbox(
    size: tuple[int, int], network: tuple[int, int], resize: str, seed: int
) -> None:
    spec = replace(InputSpec((32 * network[0], 32 * network[1])), resize=resize)
    found, expected = both(frames([size], seed), spec, rect=False)
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_rounds_once(dtype: torch.dtype) -> None:
    found, expected = both(frames([(108, 192), (70, 50)]), SPECS["letterbox"], rect=False, dtype=dtype)
    assert found.tobytes() == torch.from_numpy(expected).to(dtype).float().numpy().tobytes()


def test_a_batch_may_lie_channels_last() -> None:
    images, spec = frames([(108, 192), (70, 50)]), SPECS["letterbox"]
    places = [geometry(image.source, spec) for image in images]
    pixels = [torch.from_numpy(image.pixels) for image in images]
    outs = [torch.empty((2, 3, 96, 128)), torch.empty((2, 3, 96, 128)).to(memory_format=torch.channels_last)]
    for out in outs:
        DeviceLetterbox(spec, CPU)(pixels, places, out)
    assert torch.equal(*outs)


def test_many_sizes_keep_a_bounded_number_of_tables() -> None:
    letterbox, spec = DeviceLetterbox(SPECS["letterbox"], CPU), SPECS["letterbox"]
    for width in range(1, 400):
        place = geometry((3, width), spec)
        letterbox([torch.zeros((3, width, 3), dtype=torch.uint8)], [place], torch.empty((1, 3, 96, 128)))
    assert len(letterbox._axes) <= 256


def test_antialiased_resizing_is_left_to_the_processor() -> None:
    assert fits_device(SPECS["crop"])
    assert not fits_device(replace(SPECS["crop"], antialias=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", SPECS)
def test_a_gpu_agrees_within_a_255th(name: str) -> None:
    spec = SPECS[name]
    images = frames([(108, 192), (50, 40), (108, 192)])
    places = [geometry(image.source, spec) for image in images]
    expected = np.stack([preprocess(image, place, spec) for image, place in zip(images, places, strict=True)])
    out = torch.empty(expected.shape, device="cuda")
    pixels = [torch.from_numpy(image.pixels).cuda() for image in images]
    DeviceLetterbox(spec, out.device)(pixels, places, out)
    np.testing.assert_allclose(out.cpu().numpy(), expected, rtol=1e-6, atol=1e-6)
