"""Overlap, box coding, non-maximum suppression."""

import math

import pytest
import torch

from focalbook.boxes import LARGEST_STEP, area, decode, encode, iou, nms


def tensor(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def random_boxes(count, seed, side=100.0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * side
    size = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 30 + 1
    return torch.cat([corner, corner + size], dim=1)


# ---- area and overlap ----


def test_area_is_width_times_height_and_0_for_an_inverted_box():
    assert area(tensor([1, 2, 4, 10], [3, 3, 3, 9], [5, 5, 2, 9], [9, 9, 1, 1])).tolist() == [24, 0, 0, 0]


@pytest.mark.parametrize(
    "box, expected",
    [
        ([0, 0, 10, 10], 1),
        ([5, 0, 15, 10], 50 / 150),
        ([5, 5, 15, 15], 25 / 175),
        ([2, 2, 7, 7], 25 / 100),  # inside
        ([10, 0, 20, 10], 0),  # a common edge
        ([30, 30, 40, 40], 0),  # apart on both axes: two negative sides must not make a positive area
        ([5, 5, 5, 5], 0),  # a padding row
    ],
)
def test_iou_of_two_boxes_by_hand(box, expected):
    assert iou(tensor([0, 0, 10, 10]), tensor(box)).item() == pytest.approx(expected, abs=1e-15)


def test_two_boxes_without_area_have_iou_0():
    assert iou(tensor([0, 0, 0, 0]), tensor([0, 0, 0, 0])).item() == 0


def test_iou_compares_all_pairs_in_every_image_of_a_batch():
    a, b = random_boxes(12, seed=1).view(2, 6, 4), random_boxes(10, seed=2).view(2, 5, 4)
    every = iou(a, b)
    assert every.shape == (2, 6, 5)
    for image in range(2):
        for row in range(6):
            for column in range(5):
                assert every[image, row, column] == iou(a[image, row : row + 1], b[image, column : column + 1])


def test_iou_is_symmetric_and_within_0_and_1():
    a, b = random_boxes(60, seed=3), random_boxes(50, seed=4)
    assert torch.equal(iou(a, b), iou(b, a).T)
    assert iou(a, b).min() >= 0 and 0 < iou(a, b).max() <= 1


def test_iou_ignores_where_the_boxes_lie_and_how_large_a_pixel_is():
    a, b = random_boxes(20, seed=5), random_boxes(20, seed=6)
    torch.testing.assert_close(iou(3 * a + 7, 3 * b + 7), iou(a, b))


def test_no_boxes_have_no_overlaps():
    assert iou(torch.zeros(0, 4), torch.zeros(3, 4)).shape == (0, 3)


# ---- coding ----


def test_deltas_of_a_box_by_hand():
    # center from (10, 10) to (12, 5) on a 20 x 10 anchor; twice as wide, half as high
    deltas = encode(tensor([-8, 2.5, 32, 7.5]), tensor([0, 5, 20, 15]))
    torch.testing.assert_close(deltas, tensor([0.1, -0.5, math.log(2), -math.log(2)]))


def test_an_anchor_has_no_distance_to_itself():
    anchors = random_boxes(5, seed=7)
    assert (encode(anchors, anchors) == 0).all()


def test_decode_undoes_encode():
    boxes, anchors = random_boxes(200, seed=8), random_boxes(200, seed=9)
    torch.testing.assert_close(decode(encode(boxes, anchors), anchors), boxes)


def test_encode_undoes_decode_below_the_largest_step():
    deltas = torch.randn(200, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    anchors = random_boxes(200, seed=10)
    torch.testing.assert_close(encode(decode(deltas, anchors), anchors), deltas)


def test_a_box_grows_at_most_1000_16ths():
    box = decode(tensor([0, 0, 1e4, LARGEST_STEP + 1]), tensor([0, 0, 16, 32]))
    torch.testing.assert_close(box, tensor([8 - 500, 16 - 1000, 8 + 500, 16 + 1000]))


def test_a_box_may_shrink_to_nothing():
    assert decode(tensor([0, 0, -1e4, -1e4]), tensor([0, 0, 16, 16])).tolist() == [[8, 8, 8, 8]]


# ---- suppression ----


def naive_nms(boxes, scores, labels, threshold):
    """The textbook's loop: take the best box left, drop what it covers, repeat."""
    left, overlap = sorted(range(len(boxes)), key=lambda i: -scores[i].item()), iou(boxes, boxes).tolist()
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [i for i in left if labels[i] != labels[best] or overlap[best][i] <= threshold]
    return kept


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("seed", range(4))
def test_nms_equals_the_naive_loop(seed, threshold):
    generator = torch.Generator().manual_seed(seed)
    boxes = random_boxes(80, seed, side=30.0)
    scores = torch.randint(1, 20, (80,), generator=generator) / 20  # few values, so there are ties
    labels = torch.randint(0, 3, (80,), generator=generator)
    kept = nms(boxes, scores, labels, threshold).tolist()
    assert kept == naive_nms(boxes, scores, labels, threshold)
    assert len(kept) < 80


def row_of_boxes(count, step):
    """Boxes 10 wide, each ``step`` right of the one before."""
    left = torch.arange(count, dtype=torch.float64) * step
    return torch.stack([left, torch.zeros(count), left + 10, torch.full((count,), 10.0)], dim=1)


def test_a_suppressed_box_suppresses_nobody():
    # Each box covers its neighbor (IoU 8/12) and no other (6/14), so every second one stays, however long the chain.
    boxes, scores = row_of_boxes(9, step=2.0), torch.linspace(0.9, 0.1, 9)
    assert nms(boxes, scores, torch.zeros(9, dtype=torch.int64)).tolist() == [0, 2, 4, 6, 8]


def test_equal_scores_keep_the_first():
    boxes = tensor([0, 0, 10, 10]).expand(3, 4)
    assert nms(boxes, torch.ones(3), torch.zeros(3, dtype=torch.int64)).tolist() == [0]


def test_a_box_of_another_class_is_never_suppressed():
    boxes = tensor([0, 0, 10, 10]).expand(3, 4)
    assert nms(boxes, torch.tensor([0.2, 0.9, 0.5]), torch.tensor([0, 1, 0])).tolist() == [1, 2]


def test_an_overlap_of_exactly_the_threshold_stays():
    boxes = tensor([0, 0, 10, 10], [0, 0, 10, 5])  # IoU exactly one half
    scores, labels = torch.tensor([0.9, 0.8]), torch.zeros(2, dtype=torch.int64)
    assert nms(boxes, scores, labels, threshold=0.5).tolist() == [0, 1]
    assert nms(boxes, scores, labels, threshold=0.499).tolist() == [0]


def test_the_best_score_comes_first():
    boxes = row_of_boxes(4, step=50.0)
    assert nms(boxes, torch.tensor([0.1, 0.7, 0.3, 0.9]), torch.zeros(4, dtype=torch.int64)).tolist() == [3, 1, 2, 0]


def test_of_no_boxes_none_is_kept():
    assert nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64)).tolist() == []


# ---- types, and numbers that are none ----


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int32])
def test_boxes_in_half_precision_or_integers_are_computed_in_float32(dtype):
    boxes = torch.tensor([[0, 0, 512, 512], [256, 0, 768, 512]], dtype=dtype)  # areas beyond what float16 holds
    want = boxes.double()
    for found, right in (
        (area(boxes), area(want)),
        (iou(boxes, boxes), iou(want, want)),
        (encode(boxes, boxes.flip(0)), encode(want, want.flip(0))),
        (decode(torch.zeros(2, 4, dtype=dtype), boxes), want),
    ):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, right.float(), rtol=1e-6, atol=0)
    assert nms(boxes, torch.tensor([0.9, 0.8]), torch.zeros(2, dtype=torch.int64), 0.3).tolist() == [0]


def test_types_beyond_half_precision_stay_as_they_are():
    for dtype in (torch.float32, torch.float64):
        boxes = random_boxes(3, 0).to(dtype)
        assert area(boxes).dtype == iou(boxes, boxes).dtype == encode(boxes, boxes).dtype == dtype


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_suppression_of_what_is_not_finite_is_refused(broken):
    boxes, scores, labels = random_boxes(3, 0), torch.tensor([0.9, 0.8, 0.7]), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(ValueError, match=f"scores must be finite, got {broken}"):
        nms(boxes, torch.tensor([0.9, broken, 0.7]), labels)
    boxes[1, 2] = broken
    with pytest.raises(ValueError, match=f"boxes must be finite, got {broken}"):
        nms(boxes, scores, labels)


def test_overlaps_can_be_differentiated():
    a, b = random_boxes(2, 0).requires_grad_(), random_boxes(3, 1)
    assert torch.autograd.gradcheck(lambda a: iou(a, b), a)
