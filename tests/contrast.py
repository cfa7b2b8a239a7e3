"""How well two colors stand apart, for the tests that hold words to what WCAG 2 asks: 4.5 at least."""

import numpy as np

HUE = np.array([[-0.574, 1.430, 0.144], [0.426, 0.430, 0.144], [0.426, 1.430, -0.856]])  # of hue-rotate(180deg)


def color(text):
    """Red, green and blue of #rrggbb, in [0, 1]."""
    return np.array([int(text[k : k + 2], 16) for k in (1, 3, 5)]) / 255


def inverted(rgb):
    """What the style sheet makes of a color in a line drawing in the dark: invert(1) hue-rotate(180deg)."""
    return (HUE @ (1 - rgb)).clip(0, 1)


def contrast(one, other):
    """The contrast ratio of two colors, red, green and blue in [0, 1]."""
    parts = np.stack([one, other])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    lights = linear @ (0.2126, 0.7152, 0.0722) + 0.05
    return lights.max() / lights.min()
