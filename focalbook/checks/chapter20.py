"""Checks of chapter 20: past one machine."""

import copy

import torch

from focalbook import losses
from focalbook.checks.check import Check

mean_of_means = Check(
    reference=lambda: (6 / 1 + 3 / 5) / 2 / (9 / 6),
    tolerance=5e-3,
    mistakes={
        "the other way round: divide the average by the loss of the batch": lambda: (9 / 6) / ((6 / 1 + 3 / 5) / 2),
        "that is the average itself: divide it by the loss of the whole batch": lambda: (6 / 1 + 3 / 5) / 2,
        "you add the two losses: the processes take their mean": lambda: (6 / 1 + 3 / 5) / (9 / 6),
        "the loss of the batch is divided by all positives, not by their mean": lambda: (6 / 1 + 3 / 5) / 2 / (9 / 3),
        "that is how much is added: a ratio is asked for": lambda: (6 / 1 + 3 / 5) / 2 - 9 / 6,
        "a mean of means is the mean of all where both count equally many: 1 and 5 are not": lambda: 1.0,
    },
)


def whole(sums, positives):
    return sums.sum(dim=0) / max(1, positives.sum().item())


def each_its_own(sums, positives):
    return (sums / positives.clamp(min=1)[:, None]).mean(dim=0)


def each_its_own_added(sums, positives):
    return (sums / positives.clamp(min=1)[:, None]).sum(dim=0)


def mean_over_processes(sums, positives):
    return whole(sums, positives) / len(sums)


def one_for_each_process(sums, positives):
    return sums.sum(dim=0) / positives.clamp(min=1).sum()


def no_least(sums, positives):
    return sums.sum(dim=0) / positives.sum()


def without_the_empty(sums, positives):
    return whole(sums[positives > 0], positives)


def undivided(sums, positives):
    return sums.sum(dim=0)


GRADIENTS = torch.tensor([[0.8, -0.2, 0.1], [-0.3, 0.5, 0.4], [0.6, 0.7, -0.9]], dtype=torch.float64)

batch_gradient = Check(
    reference=whole,
    cases=(
        (GRADIENTS[:2], torch.tensor([1, 5])),
        (GRADIENTS, torch.tensor([4, 0, 3])),
        (GRADIENTS, torch.tensor([0, 0, 0])),
        (GRADIENTS[:1], torch.tensor([2])),
    ),
    mistakes={
        "each process divides by its own positives: divide once, by those of all": each_its_own,
        "each process divides by its own positives, and the parts are added: divide once, by those of all": (
            each_its_own_added
        ),
        "the mean over the processes divides once too often: the divisor already is that of all": mean_over_processes,
        "at least 1 holds for the total, not for the positives of each process": one_for_each_process,
        "a batch without objects divides by zero: divide by at least 1": no_least,
        "a process without positives has seen background: its gradient counts": without_the_empty,
        "the sum over the processes is not divided by the positives yet": undivided,
    },
)


def parts(w, batches):
    """Gradient of the sum over the anchors of each small batch, and its positives."""
    w = w.clone().requires_grad_()
    gradients = [
        torch.autograd.grad(losses.sigmoid_focal_loss(features @ w, labels, reduction="sum"), w)[0]
        for features, labels in batches
    ]
    return torch.stack(gradients), torch.stack([(labels == 1).sum() for _, labels in batches])


def accumulated(w, batches):
    return whole(*parts(w, batches))


def mean_of_batches(w, batches):
    return each_its_own(*parts(w, batches))


def sum_of_batches(w, batches):
    return each_its_own_added(*parts(w, batches))


def divided_by_batches_too(w, batches):
    return mean_over_processes(*parts(w, batches))


def positives_so_far(w, batches):
    gradients, positives = parts(w, batches)
    return (gradients / positives.cumsum(dim=0).clamp(min=1)[:, None]).sum(dim=0)


def last_alone(w, batches):
    gradients, positives = parts(w, batches)
    return gradients[-1] / max(1, positives.sum().item())


def last_positives(w, batches):
    gradients, positives = parts(w, batches)
    return gradients.sum(dim=0) / max(1, positives[-1].item())


def by_anchors(w, batches):
    return parts(w, batches)[0].sum(dim=0) / sum(len(labels) for _, labels in batches)


def mean_of_pieces(w, batches):
    sizes = torch.tensor([len(labels) for _, labels in batches])
    return (parts(w, batches)[0] / sizes[:, None]).mean(dim=0)


def by_batches(w, batches):
    return parts(w, batches)[0].mean(dim=0)


FEATURES = torch.tensor(
    [[1.0, -0.5], [0.3, 0.8], [-1.2, 0.4], [0.6, 0.1], [-0.7, -0.9], [2.0, 0.2], [0.1, -1.5]], dtype=torch.float64
)
LABELS = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
SPLIT = list(zip(FEATURES.split([2, 3, 2]), LABELS.split([2, 3, 2])))
WEIGHTS = torch.tensor([0.4, -0.3], dtype=torch.float64)

accumulated_gradient = Check(
    reference=accumulated,
    cases=((WEIGHTS, SPLIT), (WEIGHTS, SPLIT[:2]), (WEIGHTS, SPLIT[2:]), (WEIGHTS, SPLIT[::-1])),
    mistakes={
        "each small batch is divided by its own positives, and then by their number: one divisor for all": (
            mean_of_batches
        ),
        "each small batch is divided by its own positives: one divisor for all, known before the first": sum_of_batches,
        "divided by the number of small batches as well: the divisor already is that of all": divided_by_batches_too,
        "the positives counted so far are not those of the batch: count all of them first": positives_so_far,
        "only the last small batch is left: gradients add up until they are cleared": last_alone,
        "you divide by the positives of the last small batch: count all of them first": last_positives,
        "a mean over the anchors of each piece: sum, and divide by the positives of all": mean_of_pieces,
        "mean over all anchors: divide by the positives": by_anchors,
        "divided by the number of small batches: divide by the positives of all": by_batches,
    },
)


class Waiting(BaseException):
    """A process has called ``total``, and the others are not there yet."""


def summing(sums, asked):
    """The ``total`` of one process: it knows these sums, and waits at the next one with its part of it in ``asked``."""
    known = iter(sums)

    def total(value):
        added = next(known, None)
        if added is None:
            asked.append(torch.as_tensor(value).detach().clone())
            raise Waiting
        return added.clone()

    return total


def together(function, *shares):
    """What the processes return, one for each share; a sentence where some would wait forever.

    They run one after the other. At a sum that is not known yet a process stops, and when all have stopped there, the
    sum is known, and all of them start again.
    """
    sums: list = []
    while True:
        asked: list = []
        returned = []
        for share in shares:
            try:
                returned.append(function(summing(sums, asked), START.clone(), copy.deepcopy(share)))
            except Waiting:
                pass
        if not asked:
            return None if all(result is None for result in returned) else returned
        if returned:
            return "some processes have ended, and the others wait for their part of a sum"
        sums.append(torch.stack(asked).sum(dim=0))


def clip(gradient):
    return gradient * min(1, 0.2 / gradient.norm())


def train(total, w, batches, positives_of=lambda total, own: total(own).clamp(min=1), add=None, skip=False, after=clip):
    """One process: ``positives_of`` gives the divisor, ``add`` adds the gradients up, ``after`` comes last."""
    for features, labels in batches:
        gradient, positives = (part[0] for part in parts(w, [(features, labels)]))
        if skip and positives == 0:
            continue
        gradient = gradient / positives_of(total, positives)
        w = w - 0.5 * after(add(total, gradient) if add else total(gradient))
    return w


def own_positives(total, own):
    return own.clamp(min=1)


def mean(total, value):
    return total(value) / total(torch.tensor(1))


def mean_of_own(total, w, batches):
    return train(total, w, batches, own_positives, mean)


def sum_of_own(total, w, batches):
    return train(total, w, batches, own_positives)


def wrapper(total, w, batches):
    return train(total, w, batches, add=mean)


def apart(total, w, batches):
    return train(total, w, batches, add=lambda total, gradient: gradient)


def clipped_early(total, w, batches):
    return train(total, w, batches, add=lambda total, gradient: total(clip(gradient)), after=lambda gradient: gradient)


def not_clipped(total, w, batches):
    return train(total, w, batches, after=lambda gradient: gradient)


def divided_by_zero(total, w, batches):
    return train(total, w, batches, lambda total, own: total(own))


def one_each(total, w, batches):
    return train(total, w, batches, lambda total, own: total(own.clamp(min=1)))


def skipped(total, w, batches):
    return train(total, w, batches, skip=True)


def weights_averaged(total, w, batches):
    for batch in batches:
        w = mean(total, train(total, w, [batch], own_positives, lambda total, gradient: gradient))
    return w


START = torch.tensor([0.4, -0.3], dtype=torch.float64)
SCENES = FEATURES[[0, 1, 2, 3, 4, 5, 6, 2, 3, 1, 0, 4]].view(3, 2, 2, 2)  # lessons, scenes, anchors, weights
MARKED = torch.tensor([[[1, 0], [0, 0]], [[1, 1], [0, 1]], [[0, 0], [0, 0]]], dtype=torch.float64)
LESSONS = list(zip(SCENES, MARKED))

shared_training = Check(
    reference=train,
    probe=together,
    tolerance=1e-5,  # torch's own clipping adds 1e-6 to the length
    cases=(
        ([LESSONS[0], LESSONS[1]], [LESSONS[1], LESSONS[0]]),
        ([LESSONS[0], LESSONS[1]], [LESSONS[1], LESSONS[2]], [LESSONS[2], LESSONS[0]]),
        ([LESSONS[2], LESSONS[0]], [LESSONS[2], LESSONS[0]]),
    ),
    mistakes={
        "each process divides by its own positives, then the mean: divide by the positives of all": mean_of_own,
        "each process divides by its own positives, then the sum: divide by the positives of all": sum_of_own,
        "the mean over the processes divides once too often: the divisor already is that of all": wrapper,
        "the gradients stay where they are, so each process trains a network of its own: add them up": apart,
        "each process clips its own gradient: clip that of the batch, after the sum": clipped_early,
        "the gradient is not clipped": not_clipped,
        "a batch without objects divides by zero: divide by at least 1": divided_by_zero,
        "at least 1 holds for the total, not for the positives of each process": one_each,
        "a process without positives skips a sum: the others wait for it forever": skipped,
        "you average the weights, not the gradients: each step was clipped and divided on its own": weights_averaged,
    },
)
