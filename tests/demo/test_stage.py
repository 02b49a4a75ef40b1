"""Which pixels a drawn thing owns, judged by a reference that asks every pixel where it comes from."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import bitmap

from boxmill.demo.camera import planar, viewpoint
from boxmill.demo.conditions import CONDITIONS
from boxmill.demo.glyphs import Glyph
from boxmill.demo.layout import Placement
from boxmill.demo.stage import Look, Stage, looks
from boxmill.errors import UsageError

PLAIN = np.eye(4, dtype=np.float32)
NO_SHADOW = (0.0, 0.0, 0.0, 1.0)


def square(side: int) -> Glyph:
    return Glyph.from_bitmap(np.full((side, side, 4), 255, np.uint8))


def at(x: float, y: float) -> Look:
    return Look(np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]]), PLAIN, NO_SHADOW)


def stage() -> Stage:
    return Stage(np.zeros((100, 160, 3), np.uint8))


def test_a_square_on_whole_pixels_gets_exactly_its_box() -> None:
    picture = stage()
    trace = picture.place(square(20), at(50, 40), 1)
    assert picture.visible(trace) == ((40, 30, 60, 50), 400)
    assert trace.whole == 400
    assert (picture.canvas[30:50, 40:60] == 255).all()
    assert picture.canvas.sum() == 400 * 3 * 255


def test_what_stands_in_front_takes_pixels_away() -> None:
    picture = stage()
    behind = picture.place(square(20), at(50, 40), 1)
    picture.place(square(20), at(62, 40), 2)
    assert picture.visible(behind) == ((40, 30, 52, 50), 240)
    picture.place(square(30), at(50, 40), 3)
    assert picture.visible(behind) == ((0, 0, 0, 0), 0)


def test_the_edge_of_the_picture_cuts() -> None:
    picture = stage()
    corner = picture.place(square(20), at(160, 100), 1)
    assert picture.visible(corner) == ((150, 90, 160, 100), 100)
    assert corner.whole == 400
    outside = picture.place(square(20), at(-500, 40), 2)
    assert picture.visible(outside) == ((0, 0, 0, 0), 0)


def test_a_shadow_owns_nothing_and_darkens() -> None:
    picture = Stage(np.full((100, 160, 3), 200, np.uint8))
    trace = picture.place(square(20), Look(at(50, 40).pose, PLAIN, (0.5, 4.0, 6.0, 2.0)), 1)
    assert picture.visible(trace) == ((40, 30, 60, 50), 400)
    assert picture.canvas[53, 56, 0] < 150
    assert picture.canvas[5, 5, 0] == 200


def reference_alpha(glyph: Glyph, pose: np.ndarray, height: int, width: int) -> np.ndarray:
    """Alpha of the largest level, interpolated at where each pixel's middle comes from, (h, w)."""
    alpha = np.pad(glyph.levels[0][:, :, 3].astype(float), 1)
    y, x = np.mgrid[:height, :width] + 0.5
    source = np.linalg.inv(pose) @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    u = source[0] / source[2] + glyph.size[0] / 2 + 0.5  # in the padded array, where a pixel's middle is its index
    v = source[1] / source[2] + glyph.size[1] / 2 + 0.5
    u, v = np.clip(u, 0, alpha.shape[1] - 1.001), np.clip(v, 0, alpha.shape[0] - 1.001)
    i, j = v.astype(int), u.astype(int)
    a, b = v - i, u - j
    top = alpha[i, j] * (1 - b) + alpha[i, j + 1] * b
    bottom = alpha[i + 1, j] * (1 - b) + alpha[i + 1, j + 1] * b
    return (top * (1 - a) + bottom * a).reshape(height, width)


@pytest.mark.parametrize("seed", range(12))
def test_boxes_are_tight_around_the_warped_shape(seed: int) -> None:
    rng = np.random.default_rng(seed)
    glyph = Glyph.from_bitmap(bitmap(chr(0x1F400 + seed)))
    centre = (rng.uniform(10, 150), rng.uniform(10, 90))
    placement = Placement("x", 0, False, centre, rng.uniform(45, 90), rng.uniform(0, 6), bool(seed & 1))
    view = viewpoint(rng, CONDITIONS["held-out"], 100, 160)
    (drawn,) = looks(rng, [glyph], [placement], (0, 25), view)
    pose = drawn.pose
    picture = stage()
    box, pixels = picture.visible(picture.place(glyph, Look(pose, PLAIN, NO_SHADOW), 1))
    mask = reference_alpha(glyph, pose, 100, 160) >= 127.5
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    expected = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    assert np.abs(np.subtract(box, expected)).max() <= 1  # OpenCV interpolates in steps of 1/32 pixel
    assert abs(pixels - mask.sum()) <= 0.01 * mask.sum() + 3


@pytest.mark.parametrize("size", [6.0, 12.0, 24.0, 48.0])
def test_small_things_keep_their_place(size: float) -> None:
    """Halved levels must not shift a thing: a disc's box stays centred to half a pixel."""
    glyph = Glyph.from_bitmap(bitmap(chr(3 * 20000)))
    pose = at(80, 50).pose @ np.diag([size / 72, size / 72, 1])
    picture = stage()
    (x1, y1, x2, y2), _ = picture.visible(picture.place(glyph, Look(pose, PLAIN, NO_SHADOW), 1))
    assert abs((x1 + x2) / 2 - 80) <= 0.5
    assert abs((y1 + y2) / 2 - 50) <= 0.5
    assert abs((x2 - x1) - size * glyph.size[0] / 72) <= 1.5


def test_a_glyph_stands_where_it_was_placed_as_large_and_turned_as_was_said() -> None:
    glyph = Glyph.from_bitmap(bitmap("a"))
    width, height = glyph.size
    places = [Placement("a", 0, False, (30.0, 40.0), 20.0, np.pi / 2, mirrored) for mirrored in (False, True)]
    for place, drawn in zip(
        places, looks(np.random.default_rng(0), [glyph] * 2, places, (0, 0), np.eye(3)), strict=True
    ):
        scale = 20 / max(width, height) * (-1 if place.mirrored else 1)
        assert np.allclose(drawn.pose @ [0, 0, 1], [30, 40, 1])
        assert np.allclose(drawn.pose @ [width / 2, 0, 1], [30, 40 + scale * width / 2, 1])


def test_rotations_follow_the_matrices_they_stand_for() -> None:
    def about_z(angle: float) -> np.ndarray:
        return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])

    tilt, axis, turn, focal = 0.4, 1.1, -0.7, 90.0
    about_x = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    whole = about_z(axis) @ about_x @ about_z(turn - axis)
    expected = np.array([[*whole[0, :2], 0], [*whole[1, :2], 0], [*(whole[2, :2] / focal), 1]])
    assert np.allclose(planar(tilt, axis, turn, focal), expected)
    assert np.allclose(planar([tilt, 0.0], axis, turn, focal)[0], expected)


def test_a_tilted_plane_is_foreshortened_across_the_axis_only() -> None:
    view = planar(np.radians(60), 0.0, 0.0, 1e9)
    assert np.allclose(view, np.diag([1, 0.5, 1]), atol=1e-6)
    assert np.allclose(planar(0.0, 1.2, np.pi / 2, 100.0), [[0, -1, 0], [1, 0, 0], [0, 0, 1]])


def test_an_empty_glyph_is_refused() -> None:
    with pytest.raises(UsageError, match="opaque"):
        Glyph.from_bitmap(np.zeros((8, 8, 4), np.uint8))
