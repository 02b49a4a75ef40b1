"""A colour for each class, the same in every picture and every run, and the one of the two that is read on it."""

from __future__ import annotations

__all__ = ["class_color", "text_color"]

Color = tuple[int, int, int]  # red, green, blue, 0-255

# Each the colour of a grid in sRGB that is farthest in OKLab (Ottosson 2020) from all before it, among those neither
# dark nor pale nor grey (lightness .52 to .87, chroma .11 to .215): so the first ones differ most.
_PALETTE = (
    "e13c3c 00f087 2d78ff 4b781e ffb4ff ffb41e a53cb4 3cd2ff b4780f 5ab487 "
    "f069b4 b487ff 0078a5 a5c300 f09687 00a500 a54b69 694bd2 69a5ff b4e196 "
    "7878c3 00a5c3 879600 3ce1c3 d22d87 ff6900 a54b0f c3a54b b478b4 ff87ff "
    "ff6978 009669 c3695a 8769ff d2e100 c3004b 3cc35a f096c3 c35ae1 0fc3c3 "
    "e18700 3c69c3 875aa5 96c378 877800 d2a5ff 87e13c d2c34b 1e96e1 965ad2 "
    "d25a87 c31e00 c35ab4 ffb478 d25a00 8787f0 a53c87 1eb4f0 d287e1 2d5ae1 "
    "008700 78f0a5 0fa596 00d296 a5a5ff 4ba54b ff964b d27887 e1784b f069e1 "
    "78b400 873cc3 6969e1 2df0f0 c34b5a f0d21e 78d269 e13c69 d278ff a55a96"
)


def class_color(class_id: int) -> Color:
    """The colour of a class; after 80 they come again."""
    value = int(_PALETTE[7 * (class_id % 80) :][:6], 16)
    return value >> 16, value >> 8 & 255, value & 255


def text_color(background: Color) -> Color:
    """Black or white, whichever contrasts more by WCAG 2.2; the ratio is never below 4.5."""
    red, green, blue = (_linear(part / 255) for part in background)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return (0, 0, 0) if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else (255, 255, 255)


def _linear(part: float) -> float:
    """sRGB's transfer function, inverted; 0 to 1."""
    return float(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4)
