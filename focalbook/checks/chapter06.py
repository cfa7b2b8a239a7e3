"""Checks of chapter 6: scenes made of numbers."""

import random

import numpy as np
import torch

from focalbook import scenes
from focalbook.checks.check import Check

background_growth = Check(
    reference=lambda: (288 / 96) ** 2,
    tolerance=5e-2,
    mistakes={
        "the side grows by that: the anchors fill an area": lambda: 288 / 96,
        "only the foreground stays as it is: the number of anchors grows with the picture": lambda: 1,
        "the other way round: background becomes more frequent, not rarer": lambda: (96 / 288) ** 2,
        "a picture is flat: its area grows with the square of the side": lambda: (288 / 96) ** 3,
    },
)


def box_of(covered):
    """The outermost pixels that are covered, as corners x1, y1, x2, y2."""
    rows, columns = np.nonzero(covered)
    if len(rows) == 0:
        return np.zeros(4)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


def last_pixel(cover):
    return box_of(cover > 0.5) - (cover > 0.5).any() * np.array([0, 0, 1, 1])


def centers(cover):
    return box_of(cover > 0.5) + (cover > 0.5).any() * np.array([0.5, 0.5, -0.5, -0.5])


def whole_picture(cover):
    return box_of(cover > 0.5) if (cover > 0.5).any() else np.array([0, 0, cover.shape[1], cover.shape[0]])


SOFT = np.array(
    [
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [0.5, 0.1, 0.4, 0.4, 0.2, 0.0],
        [0.0, 0.6, 1.0, 1.0, 0.7, 0.3],
        [0.0, 0.2, 0.9, 0.6, 0.3, 0.0],
    ]
)

box_from_pixels = Check(
    reference=lambda cover: box_of(cover > 0.5),
    cases=((SOFT,), (SOFT.T,), (np.zeros((3, 5)),), (np.ones((1, 1)),)),
    mistakes={
        "a pixel has a width: the one at index i reaches from i to i + 1, so x2 and y2 are 1 too small": last_pixel,
        "you measure between the centers of the outermost pixels: a pixel reaches half a pixel further": centers,
        "columns are x and rows are y: your box is transposed": lambda cover: box_of(cover.T > 0.5),
        "you count every pixel that is touched: take those that are more than half covered": lambda c: box_of(c > 0),
        "exactly half is not more than half: take those above 0.5": lambda cover: box_of(cover >= 0.5),
        "an empty picture has no box: return four zeros, not the whole picture": whole_picture,
    },
)


MILLION = 1_000_000


def streams(function, count):
    """What a learner's stream of numbers depends on, and whether it leaves the global states as they were."""
    kept = global_states()
    try:
        return qualities(function, count)
    finally:
        torch.set_rng_state(kept["torch"])
        np.random.set_state(kept["numpy"])
        random.setstate(kept["python"])


def qualities(function, count):
    if function(0, 0, count) is None:
        return None

    def numbers(seed, index, state=0):
        torch.manual_seed(state)
        np.random.seed(state)
        random.seed(state)
        return np.asarray(function(seed, index, count), dtype=float)

    def apart(one, other):
        return not np.isin(numbers(*one), numbers(*other, state=1)).any()

    first, before = numbers(2, 5), global_states()
    function(2, 6, count)
    after = global_states()
    return {
        "in range": first.shape == (count,) and bool(((first >= 0) & (first < 1)).all()),
        "same again": np.array_equal(first, numbers(2, 5, state=1)),
        "scenes differ": not np.array_equal(numbers(2, 5), numbers(2, 6)),
        "no number twice": apart((2, 5), (2, 6)) and len(np.unique(first)) == first.size,
        "collections differ": apart((2, 5), (3, 5)),
        "never meet": all(apart((1, 0), (0, index)) for index in (1, 10, 100, 1000, 10_000, 100_000, MILLION - 1)),
        "global state kept": unchanged(before, after),
    }


def global_states():
    return {"torch": torch.get_rng_state(), "numpy": np.random.get_state(), "python": random.getstate()}


def unchanged(before, after):
    same = torch.equal(before["torch"], after["torch"]) and before["python"] == after["python"]
    return same and all(np.array_equal(one, other) for one, other in zip(before["numpy"], after["numpy"]))


def seeds_globally(seed, index, count):
    np.random.seed([seed, index])
    return np.random.random(count)


def normal(seed, index, count):
    return np.random.default_rng((seed, index)).normal(size=count)


def skips_ahead(seed, index, count):
    return np.random.default_rng(seed).random(index + count)[index:]


def seeded(seed_of):
    """A stream from a generator of its own, whose seed is made of the two integers."""
    return lambda seed, index, count: np.random.default_rng(seed_of(seed, index)).random(count)


own_stream = Check(
    reference=seeded(lambda seed, index: (seed, index)),
    cases=((5,), (8,)),
    probe=streams,
    mistakes={
        "you draw from the global state: what was drawn before decides, not the two integers": lambda *given: (
            np.random.random(given[-1])
        ),
        "you seed the global state, and change the numbers of all who use it: make a generator": seeds_globally,
        "a generator without a seed is new at every call: seed it with both integers": seeded(lambda *given: None),
        "you reuse one seed for all scenes: the index has to enter too": seeded(lambda seed, index: seed),
        "the collections are all the same: the seed has to enter too": seeded(lambda seed, index: index),
        "the collections meet: a scene of seed 0 has the numbers of a scene of seed 1; let a generator mix both "
        "integers": seeded(lambda seed, index: seed + index),
        "as many numbers as count says are asked for, uniform on [0, 1)": normal,
        "scenes share numbers: one stream, entered a step later, is the same stream": skips_ahead,
    },
)

GOLDEN = 0x9E3779B97F4A7C15


def mix(x, wrap=2**64):
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % wrap
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % wrap
    return x ^ (x >> 31)


def rendered_noise(seed, index, size):
    only_noise = dict(objects=(0, 0), distractors=0, clutter=0, noise=0.5)
    settings = scenes.SceneSettings(size=size, cell=size, extent=(1, 1), **only_noise)
    return 2 * scenes.render(index, seed, settings, dtype=torch.float64).images[0] - 1


def value(number):
    return number / 2**20 - 1


def hashed_noise(scene, size, purpose=12, first=1, shifts=(0, 21, 42), wrap=2**64, value=value):
    stream = mix((scene + purpose) % wrap, wrap)
    bits = [mix((stream + place * GOLDEN) % wrap, wrap) for place in range(first, first + size * size)]
    channels = [[value((number >> shift) % 2**21) for number in bits] for shift in shifts]
    return np.array(channels).reshape(3, size, size)


def variant(**settings):
    """The noise with some settings of ``hashed_noise`` changed."""
    return lambda seed, index, size: hashed_noise(mix((mix(seed) + index) % 2**64), size, **settings)


def unwrapped(seed, index, size):
    return hashed_noise(mix(mix(seed, 2**999) + index, 2**999), size, wrap=2**999)


pixel_noise = Check(
    reference=rendered_noise,
    cases=((0, 7, 8), (2, 0, 9)),
    tolerance=1e-9,
    mistakes={
        "you count the places from 0: the first pixel is place 1": variant(first=0),
        "all channels get the same bits, so the noise is gray: shift by 0, 21 and 42": variant(shifts=(0, 0, 0)),
        "the channels are in the wrong order: the first one has the lowest 21 bits": variant(shifts=(42, 21, 0)),
        "the purpose is missing: two kinds of random numbers of a scene would be the same ones": variant(purpose=0),
        "the seed is not hashed before you add the index: collections would meet": lambda seed, index, size: (
            hashed_noise(mix(seed + index), size)
        ),
        "Python's integers do not wrap: take every sum and product modulo 2**64": unwrapped,
        "you stretch the noise until it reaches 1: an integer n becomes n / 2**20 - 1": variant(
            value=lambda number: 2 * number / (2**21 - 1) - 1
        ),
        "you take the middle of each step: an integer n becomes n / 2**20 - 1": variant(
            value=lambda number: (number + 0.5) / 2**20 - 1
        ),
        "your noise runs from 0 to 1: stretch it to run from -1 to 1": lambda seed, index, size: (
            (rendered_noise(seed, index, size) + 1) / 2
        ),
        "the places run along a row, then along the next one: you go down the columns": lambda seed, index, size: (
            rendered_noise(seed, index, size).transpose(1, 2)
        ),
    },
)
