"""Hard example mining: who is kept, counted by hand."""

import pytest
import torch

from focalbook.mining import hardest, negatives_per_positive

LOSSES = torch.tensor([[0.1, 0.9, 0.5, 0.7, 0.2, 0.3]])
EVERY = torch.ones(1, 6, dtype=torch.bool)


def chosen(mask):
    return [row.nonzero().flatten().tolist() for row in mask]


def test_the_hardest_are_those_with_the_highest_loss():
    assert chosen(hardest(LOSSES, EVERY, 3)) == [[1, 2, 3]]


def test_an_ignored_anchor_is_never_kept_however_hard():
    counts = EVERY.clone()
    counts[0, 1] = False
    assert chosen(hardest(LOSSES, counts, 3)) == [[2, 3, 5]]
    assert chosen(hardest(LOSSES, counts, 6)) == [[0, 2, 3, 4, 5]]


def test_each_image_keeps_its_own():
    losses = torch.cat([LOSSES, 10 + LOSSES.flip(1)])
    assert chosen(hardest(losses, EVERY.expand(2, -1), 2)) == [[1, 3], [2, 4]]


def test_more_than_there_are_means_all():
    assert hardest(LOSSES, EVERY, 100).all()


def test_three_negatives_for_each_positive_and_the_hardest_ones():
    positive = torch.tensor([[False, False, True, False, False, False]])
    assert chosen(negatives_per_positive(LOSSES, EVERY, positive, 3)) == [[1, 2, 3, 5]]
    assert chosen(negatives_per_positive(LOSSES, EVERY, positive, 1)) == [[1, 2]]


def test_all_positives_are_kept_even_the_easiest():
    positive = torch.tensor([[True, False, False, False, True, False]])
    assert chosen(negatives_per_positive(LOSSES, EVERY, positive, 1)) == [[0, 1, 3, 4]]


def test_an_image_without_positives_still_keeps_some_negatives():
    assert chosen(negatives_per_positive(LOSSES, EVERY, ~EVERY, 2)) == [[1, 3]]


def test_an_ignored_anchor_is_no_negative():
    counts, positive = EVERY.clone(), torch.zeros_like(EVERY)
    counts[0, 1], positive[0, 0] = False, True
    assert chosen(negatives_per_positive(LOSSES, counts, positive, 2)) == [[0, 2, 3]]


def test_the_choice_carries_no_gradient_and_changes_nothing():
    losses = LOSSES.clone().requires_grad_()
    assert not hardest(losses, EVERY, 2).requires_grad
    assert torch.equal(losses, LOSSES)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: hardest(LOSSES, EVERY, 0), "keep must be at least 1 .* got 0"),
        (lambda: negatives_per_positive(LOSSES, EVERY, EVERY, 0), "ratio must be at least 1 .* got 0"),
    ],
)
def test_keeping_nothing_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
