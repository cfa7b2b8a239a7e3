"""Checks of chapter 9: training, live."""

import math

import numpy as np

from focalbook.checks.check import Check

another_order = Check(
    reference=lambda: (0.1 + 0.2) + 0.3 - (0.1 + (0.2 + 0.3)),
    tolerance=5e-3,
    mistakes={
        "that is the step between 1 and the next float64: the numbers here are smaller, so is the step": lambda: 2**-52,
        "the sign: subtract the second order from the first": lambda: 0.1 + (0.2 + 0.3) - ((0.1 + 0.2) + 0.3),
        "that is the sum: the difference of the two orders is wanted": lambda: 0.6,
        "on paper it is 0: a float64 rounds after every sum, so let Python add": lambda: 0.0,
    },
)


def batch_from(first):
    """The indices of a batch that starts there."""
    return lambda seed, step, steps, batch: np.arange(batch) + first(seed, step, steps, batch)


scenes_of_step = Check(
    reference=batch_from(lambda seed, step, steps, batch: (seed * steps + step) * batch),
    cases=((0, 0, 10, 4), (0, 3, 10, 4), (2, 0, 10, 4), (1, 7, 8, 3)),
    mistakes={
        "the seed is not used: every run would train on the same scenes": batch_from(
            lambda seed, step, steps, batch: step * batch
        ),
        "the step is not used: every step of a run would get the same batch": batch_from(
            lambda seed, step, steps, batch: seed * steps * batch
        ),
        "seeds share scenes: seed 1 starts with what seed 0 sees at step 1": batch_from(
            lambda seed, step, steps, batch: (seed + step) * batch
        ),
        "batches share scenes: the next one starts a whole batch further on": batch_from(
            lambda seed, step, steps, batch: seed * steps + step
        ),
        "seeds share scenes: a run uses up steps * batch of them, not steps": batch_from(
            lambda seed, step, steps, batch: seed * steps + step * batch
        ),
        "that is where the batch starts: return the indices of all its scenes": lambda seed, step, steps, batch: (
            (seed * steps + step) * batch
        ),
    },
)


def cosine(part):
    """From 0 to 1 while ``part`` goes from 0 to 1."""
    return (1 - math.cos(math.pi * part)) / 2


def cycle(step, steps, peak, start=1 / 25, end=1 / 25e4, curve=cosine, rise=0.3, first=0, whole=float):
    """The rate of torch's ``OneCycleLR``, whose import would take longer than the rest of a check; defaults right."""
    top, last = whole(rise * steps - 1 + first), steps - 1 + first
    low, part = (start, step / top) if step <= top else (end, (last - step) / (last - top))
    return peak * (low + (1 - low) * curve(part))


def variant(**settings):
    """The schedule with some settings of ``cycle`` changed."""
    return lambda step, steps, peak: cycle(step, steps, peak, **settings)


one_cycle_rate = Check(
    reference=cycle,
    cases=(
        *((step, steps, 0.01) for steps in (10, 40) for step in (0, 1, 2, 5, steps - 1)),
        *((step, 25, 0.01) for step in (3, 6, 7, 20)),
    ),
    mistakes={
        "straight lines: both ways follow half a cosine, flat at either end": variant(curve=lambda part: part),
        "you start at 0, and the first step does nothing: start at peak / 25": variant(start=0),
        "you end at exactly 0: the last rate is peak / 25 / 10^4": variant(end=0),
        "you fall back to the rate of the start: the end is 10^4 times lower": variant(end=1 / 25),
        "the rate stays at its peak: after the rise it falls until the last step": lambda step, steps, peak: cycle(
            min(step, 0.3 * steps - 1), steps, peak
        ),
        "the rise is missing: you start at the peak": lambda step, steps, peak: (
            peak * (1 / 25e4 + (1 - 1 / 25e4) * cosine((steps - 1 - step) / (steps - 1)))
        ),
        "you are one step ahead: the first step is step 0": lambda step, steps, peak: cycle(step + 1, steps, peak),
        "steps count from 0: the last one is steps - 1, and the peak lies at 0.3 * steps - 1": variant(first=1),
        "these are shares of the peak: multiply them by it": lambda step, steps, peak: cycle(step, steps, 1),
        "the peak lies between two steps: do not round 0.3 * steps - 1": variant(whole=math.floor),
        "the peak lies between two steps: do not round 0.3 * steps - 1 up": variant(whole=math.ceil),
        "you rise for half of the run: the rise takes three tenths": variant(rise=0.5),
    },
)


def batch_at(seed, step, size):
    return np.random.default_rng((seed, step)).normal(size=size)


def training(batch=batch_at, rate=lambda step: 0.1 * (1 - step / 20), keep=True, momentum=0.9, gain=1, before=False):
    """A training in which some part is as given; the defaults are right."""

    def train(weight, velocity, first, last, seed):
        weight, velocity = weight.copy(), velocity * keep
        for step in range(first, last):
            previous, slope = velocity, weight - batch(seed, step, len(weight))
            velocity = momentum * velocity + gain * slope
            weight = weight - rate(step) * (previous if before else velocity)
        return weight, velocity

    return train


def from_its_own_start(**parts):
    """A training in which the parts count the steps of this call, not those of the run."""

    def train(weight, velocity, first, last, seed):
        counted = {name: lambda *a, part=part: part(*a, first) for name, part in parts.items()}
        return training(**counted)(weight, velocity, first, last, seed)

    return train


def one_stream(weight, velocity, first, last, seed):
    stream = np.random.default_rng(seed)
    return training(lambda seed, step, size: stream.normal(size=size))(weight, velocity, first, last, seed)


def overwriting(*names):
    """The right training, which writes its result into the given arrays of these names."""

    def train(weight, velocity, *rest):
        result = training()(weight, velocity, *rest)
        for name, given, new in zip(("weight", "velocity"), (weight, velocity), result):
            if name in names:
                given[:] = new
        return result

    return train


def second_call(train, *given):
    """What the same arrays give once more: the first call may have written into them."""
    train(*given)
    return train(*given)


WEIGHT, VELOCITY = np.array([1.0, -2.0, 0.5]), np.array([0.3, 0.2, -0.4])

interrupted_training = Check(
    reference=training(),
    cases=((WEIGHT, np.zeros(3), 0, 20, 1), (WEIGHT, VELOCITY, 7, 20, 1), (WEIGHT, VELOCITY, 7, 7, 2)),
    probe=second_call,
    mistakes={
        "the velocity starts at 0 again: it is part of the state that a checkpoint keeps": training(keep=False),
        "the rate starts over when you resume: it depends on the step of the whole run": from_its_own_start(
            rate=lambda step, first: 0.1 * (1 - (step - first) / 20)
        ),
        "the batches start over when you resume: seed them with the step of the whole run": from_its_own_start(
            batch=lambda seed, step, size, first: batch_at(seed, step - first, size)
        ),
        "one stream for all steps starts over when you resume: make a generator for each step": one_stream,
        "the seed is used again at every step, so all batches are the same one: the step enters too": training(
            lambda seed, step, size: np.random.default_rng(seed).normal(size=size)
        ),
        "the step alone decides your batches: two seeds would train on the same ones": training(
            lambda seed, step, size: np.random.default_rng(step).normal(size=size)
        ),
        "a sum of seed and step: seed 1 starts with the batch that seed 0 sees at step 1": training(
            lambda seed, step, size: np.random.default_rng(seed + step).normal(size=size)
        ),
        "the momentum is missing: the velocity keeps 0.9 of what it was": training(momentum=0),
        "the rate stays the same: at step 20 it has come down to 0": training(rate=lambda step: 0.1),
        "the whole gradient enters the velocity, not a tenth of it": training(gain=0.1),
        "the other way round: return the weight first, then the velocity": lambda *given: training()(*given)[::-1],
        "you write into the given weight: make a new array": overwriting("weight"),
        "you write into the given velocity: make a new array": overwriting("velocity"),
        "you write into the given arrays: make new ones": overwriting("weight", "velocity"),
        "you move by the old velocity: update it with the slope first": training(before=True),
    },
)
