from __future__ import annotations

import itertools

import cv2
import numpy as np

from boxmill.render.colors import class_color, text_color


def luminance(color: tuple[int, int, int]) -> float:
    parts = [part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in color]
    return float(np.dot([0.2126, 0.7152, 0.0722], parts))


def contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_a_class_has_its_colour_for_ever() -> None:
    assert [class_color(index) for index in range(4)] == [(225, 60, 60), (0, 240, 135), (45, 120, 255), (75, 120, 30)]
    assert class_color(83) == class_color(3)
    assert class_color(-1) == class_color(79)


def test_the_colours_differ_the_first_ones_most() -> None:
    colors = np.array([[class_color(index) for index in range(80)]], np.uint8)
    assert len(set(map(tuple, colors[0].tolist()))) == 80
    lab = cv2.cvtColor(colors.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)[0]

    def nearest(count: int) -> float:
        return min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(lab[:count], 2))

    assert nearest(10) > 25  # CIE 1976; 2.3 is a just noticeable difference
    assert nearest(20) > 20
    assert nearest(80) > 8


def test_letters_contrast_with_every_colour() -> None:
    for index in range(80):
        color = class_color(index)
        chosen = text_color(color)
        other = (255 - chosen[0],) * 3
        assert chosen in ((0, 0, 0), (255, 255, 255))
        assert contrast(color, chosen) >= max(4.5, contrast(color, other))
    assert text_color((255, 255, 0)) == (0, 0, 0)
    assert text_color((0, 0, 128)) == (255, 255, 255)
