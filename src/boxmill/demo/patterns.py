"""Backgrounds that only training shows, where much must be told from things: patterns, each (h, w, 3) uint8 RGB.

A detector that has seen few backgrounds finds things in every new one; so these are many, and each draws its own form,
scale, contrast and colours. None of them is one of those by which the detector is judged.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from boxmill.demo.conditions import Surface
from boxmill.demo.paint import Colour, Rng, clouds, grain, mix, near, paint, pick_colour, slope
from boxmill.types import UInt8

__all__ = ["PATTERNS"]

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789&%?!+"


def _vivid(rng: Rng) -> Colour:
    red, green, blue = pick_colour(rng, (30, 240), rng.uniform(0.1, 0.8)).tolist()
    return red, green, blue


def _ground(rng: Rng, height: int, width: int) -> UInt8:
    """Something quiet to draw upon."""
    return paint(clouds(rng, height, width, min(height, width) / rng.uniform(2, 8)), pick_colour(rng), pick_colour(rng))


def _two_tone(rng: Rng, field: UInt8) -> UInt8:
    """Two or three colours, now and then of strong contrast."""
    base = pick_colour(rng)
    spread = rng.uniform(20, 160)
    return paint(field, near(rng, base, spread), *([base] if rng.random() < 0.5 else []), near(rng, base, spread))


def _camouflage(rng: Rng, height: int, width: int) -> UInt8:
    """Patches of a few tones with sharp edges."""
    tones = int(rng.integers(3, 7))
    field = clouds(rng, height, width, min(height, width) / rng.uniform(4, 24)) // (256 // tones) * (255 // tones)
    base = pick_colour(rng)
    return paint(field, near(rng, base, 90), base, near(rng, base, 90))


def _cells(rng: Rng, height: int, width: int) -> UInt8:
    """Angular cells about random points, each with its own tone, as in paving of broken stone or dried mud."""
    count = int(rng.integers(20, 300))
    seeds = np.ones((height, width), np.uint8)
    seeds[rng.integers(0, height, count), rng.integers(0, width, count)] = 0
    away, owner = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    tones = rng.integers(60, 220, count + 1, dtype=np.uint8)
    shade = (away * np.float32(255 / float(away.max()))).astype(np.uint8)
    field = mix(tones[np.minimum(owner, count)], shade, float(rng.uniform(0, 0.5)))
    base = pick_colour(rng)
    return paint(field, near(rng, base, 80), base, near(rng, base, 60))


def _crosses(rng: Rng, height: int, width: int) -> UInt8:
    """Small marks of straight strokes at even distances."""
    period = max(12, int(min(height, width) * rng.uniform(0.04, 0.14)))
    tile = np.zeros((period, period), np.uint8)
    thick = max(1, int(period * rng.uniform(0.05, 0.2)))
    for _ in range(int(rng.integers(1, 4))):
        start, end = (rng.integers(period // 6, period - period // 6, 2).tolist() for _ in range(2))
        cv2.line(tile, start, end, 220, thick, cv2.LINE_AA)
    field = np.tile(tile, (height // period + 1, width // period + 1))[:height, :width]
    base = pick_colour(rng)
    return paint(mix(field, clouds(rng, height, width, period * 3), 0.15), base, near(rng, base, 100))


def _hexagons(rng: Rng, height: int, width: int) -> UInt8:
    """A honeycomb: each pixel belongs to the nearer of two shifted lattices of centres."""
    side = min(height, width) * rng.uniform(0.04, 0.16)
    x = np.arange(width, dtype=np.float32)[None, :] / np.float32(side)
    y = np.arange(height, dtype=np.float32)[:, None] / np.float32(side * np.sqrt(3))
    here = np.hypot(x - np.rint(x), (y - np.rint(y)) * np.float32(np.sqrt(3)))
    there = np.hypot(x - np.floor(x) - 0.5, (y - np.floor(y) - 0.5) * np.float32(np.sqrt(3)))
    joint = np.abs(here - there) < rng.uniform(0.02, 0.1)
    field = np.where(joint, 0, np.where(here < there, 210, int(rng.integers(60, 255)))).astype(np.uint8)
    base = pick_colour(rng)
    return paint(mix(field, clouds(rng, height, width, side * 2), 0.25), near(rng, base, 90), base)


def _ripples(rng: Rng, height: int, width: int) -> UInt8:
    """Rings about two points that pass through each other."""
    x, y = np.arange(width, dtype=np.float32)[None, :], np.arange(height, dtype=np.float32)[:, None]
    wave = np.zeros((height, width), np.float32)
    for _ in range(2):
        centre = rng.uniform((-width, -height), (2 * width, 2 * height)).astype(np.float32)
        period = np.float32(min(height, width) * rng.uniform(0.03, 0.15) / (2 * np.pi))
        wave += np.sin(np.hypot(x - centre[0], y - centre[1]) / period)
    base = pick_colour(rng)
    return paint((wave * 63 + 127).astype(np.uint8), near(rng, base, 80), base, near(rng, base, 80))


def _scribbles(rng: Rng, height: int, width: int) -> UInt8:
    """Long curved strokes of a few colours."""
    canvas = _ground(rng, height, width)
    short = min(height, width)
    for _ in range(int(rng.integers(8, 40))):
        turns = np.cumsum(rng.uniform(-0.5, 0.5) + rng.normal(0, 0.3, int(rng.integers(8, 40))))
        steps = np.stack([np.cos(turns), np.sin(turns)], 1) * short * rng.uniform(0.01, 0.06)
        path = np.cumsum(steps, 0) + rng.uniform((0, 0), (width, height))
        cv2.polylines(canvas, [path.astype(np.int32)], False, _vivid(rng), int(rng.integers(1, 12)), cv2.LINE_AA)
    return canvas


def _blocks(rng: Rng, height: int, width: int) -> UInt8:
    """Rectangles of every size, cut from each other, each with its own tone."""
    field = np.zeros((height, width), np.uint8)
    least = min(height, width) * rng.uniform(0.03, 0.15)
    joint, lean = int(rng.integers(0, 4)), rng.uniform(0.3, 0.7)
    left = [(0, 0, width, height)]
    while left:
        x, y, wide, tall = left.pop()
        cut = rng.uniform(0.25, 0.75)
        if max(wide, tall) > least * 3 or (min(wide, tall) > least and rng.random() < 0.8):
            if wide * lean > tall * (1 - lean):
                part = int(wide * cut)
                left += [(x, y, part, tall), (x + part, y, wide - part, tall)]
            else:
                part = int(tall * cut)
                left += [(x, y, wide, part), (x, y + part, wide, tall - part)]
        else:
            field[y : y + max(0, tall - joint), x : x + max(0, wide - joint)] = rng.integers(40, 256)
    return _two_tone(rng, mix(field, clouds(rng, height, width, least * 2), rng.uniform(0, 0.4)))


def _confetti(rng: Rng, height: int, width: int) -> UInt8:
    """Small pieces strewn about, of one form and of one or many colours."""
    canvas = _ground(rng, height, width)
    reach = min(height, width) * float(np.exp(rng.uniform(np.log(0.008), np.log(0.06))))
    corners, stretch = int(rng.integers(3, 9)), rng.uniform(0.2, 1)
    colours = [_vivid(rng) for _ in range(int(rng.integers(1, 8)))]
    angles = np.arange(corners) * (2 * np.pi / corners)
    form = np.stack([np.cos(angles), stretch * np.sin(angles)], 1) * rng.uniform(0.6, 1.2, (corners, 1))
    for _ in range(int(rng.integers(60, 500))):
        turn = rng.uniform(0, 2 * np.pi)
        spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        piece = form @ spin * reach * rng.uniform(0.6, 1.4) + rng.uniform((0, 0), (width, height))
        cv2.fillPoly(canvas, [piece.astype(np.int32)], colours[int(rng.integers(len(colours)))], cv2.LINE_AA)
    return canvas


def _letters(rng: Rng, height: int, width: int) -> UInt8:
    """Writing of many sizes, as on posters and packages."""
    canvas = paint(
        clouds(rng, height, width, min(height, width) / rng.uniform(2, 8)), *(pick_colour(rng) for _ in "ab")
    )
    big = min(height, width) * rng.uniform(0.0008, 0.006)
    for _ in range(int(rng.integers(15, 90))):
        text = "".join(rng.choice(list(_LETTERS), int(rng.integers(1, 12))))
        at = (int(rng.integers(-width // 4, width)), int(rng.integers(0, height)))
        size = big * rng.uniform(0.5, 1.5)
        thick = max(1, int(size * rng.uniform(0.5, 4)))
        cv2.putText(canvas, text, at, int(rng.integers(0, 8)), size, _vivid(rng), thick, cv2.LINE_AA)
    return canvas


def _marble(rng: Rng, height: int, width: int) -> UInt8:
    """Stripes bent by clouds."""
    short = min(height, width)
    bend = clouds(rng, height, width, short / rng.uniform(2, 12)).astype(np.float32) - 127
    period = short * rng.uniform(0.02, 0.2)
    phase = slope(rng, height, width) + bend * np.float32(period * rng.uniform(0.002, 0.03))
    sharp = rng.choice([1.0, 3.0, 20.0])
    wave = np.sin(phase * np.float32(2 * np.pi / period)) * np.float32(127 * sharp) + np.float32(127.5)
    return _two_tone(rng, mix(wave.clip(0, 255).astype(np.uint8), grain(rng, height, width), rng.uniform(0, 0.2)))


def _mazes(rng: Rng, height: int, width: int) -> UInt8:
    """Tiles of quarter rings or of diagonals, each turned at random (Truchet's)."""
    side = max(10, int(min(height, width) * rng.uniform(0.03, 0.12)))
    thick = max(1, int(side * rng.uniform(0.08, 0.45)))
    tile = np.zeros((side, side), np.uint8)
    if rng.random() < 0.5:
        for corner in ((0, 0), (side, side)):
            cv2.circle(tile, corner, side // 2, 230, thick, cv2.LINE_AA)
    else:
        cv2.line(tile, (0, 0), (side, side), 230, thick, cv2.LINE_AA)
    tiles = np.stack([tile, tile[:, ::-1]])
    rows, columns = height // side + 1, width // side + 1
    field = tiles[rng.integers(0, 2, (rows, columns))].transpose(0, 2, 1, 3).reshape(rows * side, columns * side)
    return _two_tone(rng, np.ascontiguousarray(field[:height, :width]))


def _network(rng: Rng, height: int, width: int) -> UInt8:
    """A random smooth function of the place, from a small random network: every one is a pattern of its own."""
    rows, columns = height // 3 + 1, width // 3 + 1
    x = np.linspace(-1, 1, columns, dtype=np.float32)[None, :].repeat(rows, 0)
    y = np.linspace(-rows / columns, rows / columns, rows, dtype=np.float32)[:, None].repeat(columns, 1)
    values: np.ndarray = np.stack(
        [x, y, np.hypot(x, y), np.sin(x * rng.uniform(5, 60)), np.sin(y * rng.uniform(5, 60))], -1
    )
    for width_of_layer in (12, 12, 3):
        weights = rng.normal(0, rng.uniform(0.8, 2.5), (values.shape[-1], width_of_layer)).astype(np.float32)
        values = np.tanh(values @ weights + rng.normal(0, 0.5, width_of_layer).astype(np.float32))
    small: UInt8 = (values * 110 + 128).astype(np.uint8)
    if rng.random() < 0.5:
        levels = int(rng.integers(2, 6))
        small = small // (256 // levels) * (255 // levels)
    canvas = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    return mix(canvas, np.full_like(canvas, pick_colour(rng), np.uint8), rng.uniform(0.1, 0.7))


def _outlines(rng: Rng, height: int, width: int) -> UInt8:
    """Frames, rings and arcs, as on plans and packages."""
    canvas = _ground(rng, height, width)
    short = min(height, width)
    for _ in range(int(rng.integers(10, 80))):
        x, y = (int(value) for value in rng.uniform((0, 0), (width, height)))
        reach = short * np.exp(rng.uniform(np.log(0.015), np.log(0.2), 2))
        thick, colour = int(rng.integers(1, 9)), _vivid(rng)
        if rng.random() < 0.5:
            end = (x + int(reach[0]), y + int(reach[1]))
            cv2.rectangle(canvas, (x, y), end, colour, thick, cv2.LINE_AA)
        else:
            start, sweep = rng.uniform(0, 360), rng.choice([360.0, rng.uniform(40, 360)])
            axes = (int(reach[0]), int(reach[1]))
            cv2.ellipse(canvas, (x, y), axes, rng.uniform(0, 180), start, start + sweep, colour, thick, cv2.LINE_AA)
    return canvas


def _plaid(rng: Rng, height: int, width: int) -> UInt8:
    """Bands of uneven widths that cross, as in cloth."""

    def bands(length: int) -> UInt8:
        edges = np.cumsum(rng.uniform(0.01, 0.12, 12)) * min(height, width)
        tones: UInt8 = rng.integers(0, 256, 13, dtype=np.uint8)
        return np.asarray(tones[np.searchsorted(edges, np.arange(length) % edges[-1])])

    down, right = bands(height), bands(width)
    field = mix(np.repeat(down[:, None], width, 1), np.repeat(right[None, :], height, 0), rng.uniform(0.3, 0.7))
    return _two_tone(rng, field)


def _print(rng: Rng, height: int, width: int) -> UInt8:
    """One motif of strokes and patches over and over on a slanting lattice, as on wallpaper."""
    period = max(14, int(min(height, width) * rng.uniform(0.05, 0.2)))
    tile = np.zeros((period, period, 3), np.uint8)
    tile[:] = pick_colour(rng)
    for _ in range(int(rng.integers(1, 5))):
        colour, points = _vivid(rng), rng.uniform(0.1, 0.9, (int(rng.integers(3, 7)), 2)) * period
        if rng.random() < 0.5:
            cv2.fillPoly(tile, [points.astype(np.int32)], colour, cv2.LINE_AA)
        else:
            thick = max(1, int(period * rng.uniform(0.03, 0.15)))
            cv2.polylines(tile, [points.astype(np.int32)], bool(rng.random() < 0.5), colour, thick, cv2.LINE_AA)
    shift = int(rng.integers(0, period))
    rows = [np.roll(np.tile(tile, (1, width // period + 2, 1)), row * shift, 1) for row in range(height // period + 1)]
    return np.ascontiguousarray(np.concatenate(rows)[:height, :width])


def _scales(rng: Rng, height: int, width: int) -> UInt8:
    """Rows of discs, each row over the one before, as roof tiles or a fish's scales."""
    radius = max(6, int(min(height, width) * rng.uniform(0.02, 0.1)))
    field = np.zeros((height, width), np.uint8)
    squeeze, edge = rng.uniform(0.4, 0.9), int(rng.integers(0, 2))
    for row, y in enumerate(range(-radius, height + radius, max(2, int(radius * squeeze)))):
        for x in range(-radius + (row & 1) * radius, width + radius, 2 * radius):
            cv2.circle(field, (x, height - y), radius, int(rng.integers(50, 256)), -1, cv2.LINE_AA)
            if edge:
                cv2.circle(field, (x, height - y), radius, 0, max(1, radius // 10), cv2.LINE_AA)
    return _two_tone(rng, field)


def _terrain(rng: Rng, height: int, width: int) -> UInt8:
    """Clouds within clouds, with steps as on a map or without."""
    short = min(height, width)
    field = clouds(rng, height, width, short / 2)
    for octave in range(1, int(rng.integers(3, 7))):
        field = mix(field, clouds(rng, height, width, short / 2 ** (octave + 1)), rng.uniform(0.25, 0.5))
    low, high = int(field.min()), int(field.max())
    field = np.asarray(cv2.convertScaleAbs(field - low, alpha=255 / max(1, high - low)), np.uint8)
    return paint(field, *(pick_colour(rng) for _ in range(int(rng.integers(3, 8)))))


def _triangles(rng: Rng, height: int, width: int) -> UInt8:
    """A lattice, shaken or not, whose cells are cut into triangles of their own tones."""
    side = min(height, width) * rng.uniform(0.04, 0.16)
    rows, columns = int(height / side) + 3, int(width / side) + 3
    nodes = np.stack(np.meshgrid(np.arange(columns) - 1.0, np.arange(rows) - 1.0), -1)
    nodes = (nodes + rng.uniform(-0.5, 0.5, nodes.shape) * rng.uniform(0, 0.9)) * side
    field = np.zeros((height, width), np.uint8)
    for row in range(rows - 1):
        for column in range(columns - 1):
            corners = nodes[row : row + 2, column : column + 2].reshape(4, 2).astype(np.int32)
            for part in ((0, 1, 2), (1, 2, 3)):
                cv2.fillConvexPoly(field, corners[list(part)], int(rng.integers(30, 256)))
    return _two_tone(rng, field)


def _collage(rng: Rng, height: int, width: int) -> UInt8:
    """Two patterns torn and laid over each other."""
    whole = [painted for kind, painted in PATTERNS.items() if kind != "collage"]
    under, over = (whole[int(rng.integers(len(whole)))](rng, height, width) for _ in range(2))
    torn = clouds(rng, height, width, min(height, width) / rng.uniform(1.5, 6)) > 127
    return np.where(torn[..., None], over, under)


PATTERNS: dict[Surface, Callable[[Rng, int, int], UInt8]] = {
    "blocks": _blocks,
    "camouflage": _camouflage,
    "cells": _cells,
    "collage": _collage,
    "confetti": _confetti,
    "crosses": _crosses,
    "hexagons": _hexagons,
    "letters": _letters,
    "marble": _marble,
    "mazes": _mazes,
    "network": _network,
    "outlines": _outlines,
    "plaid": _plaid,
    "print": _print,
    "ripples": _ripples,
    "scales": _scales,
    "scribbles": _scribbles,
    "terrain": _terrain,
    "triangles": _triangles,
}
