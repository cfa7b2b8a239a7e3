"""Flips and quarter turns: the boxes stay on what they were on, pixel by pixel."""

import pytest
import torch

from focalbook.turns import WAYS, turned

SIZE = 12
BOXES = torch.tensor([[1, 2, 5, 4], [6, 0, 7, 12], [0, 9, 3, 12], [11, 11, 12, 12]], dtype=torch.float64)


def picture():
    """Noise, and in each channel one box's pixels alone marked by 2."""
    pixels = torch.rand(len(BOXES), SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    for channel, (x1, y1, x2, y2) in zip(pixels, BOXES.int().tolist()):
        channel[y1:y2, x1:x2] += 2
    return pixels


@pytest.mark.parametrize("way", range(WAYS))
def test_a_box_holds_the_same_pixels_and_no_others(way):
    pixels, boxes = turned(picture(), BOXES, way)
    assert ((boxes[:, 2:] > boxes[:, :2]) & (boxes >= 0).all() & (boxes <= SIZE).all()).all()
    for channel, before, (x1, y1, x2, y2) in zip(pixels, picture(), boxes.int().tolist()):
        inside = torch.zeros(SIZE, SIZE, dtype=torch.bool)
        inside[y1:y2, x1:x2] = True
        assert torch.equal(inside, channel >= 2)
        assert sorted(channel.flatten().tolist()) == sorted(before.flatten().tolist())


def test_there_are_eight_ways_and_the_first_leaves_all_to_the_bit():
    ways = [turned(picture(), BOXES, way) for way in range(WAYS)]
    assert torch.equal(ways[0][0], picture()) and torch.equal(ways[0][1], BOXES)
    for part in (0, 1):
        assert len({tuple(way[part].flatten().tolist()) for way in ways}) == WAYS


def test_the_first_quarter_turn_is_to_the_left_and_the_flip_is_left_to_right():
    pixels = torch.tensor([[1, 2], [3, 4]])
    none = torch.zeros(0, 4)
    assert turned(pixels, none, 1)[0].tolist() == [[2, 4], [1, 3]]
    assert turned(pixels, none, 4)[0].tolist() == [[2, 1], [4, 3]]
    assert turned(pixels, none, 5)[0].tolist() == [[1, 3], [2, 4]]
    assert turned(pixels, none, 5)[1].shape == (0, 4)


@pytest.mark.parametrize("shape, way, message", [((4, 5), 0, "square, got .4, 5."), ((4, 4), 8, "way must .* got 8")])
def test_what_cannot_be_turned_is_named(shape, way, message):
    with pytest.raises(ValueError, match=message):
        turned(torch.zeros(shape), torch.zeros(0, 4), way)
