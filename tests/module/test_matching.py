"""Which anchor answers for which object."""

import pytest
import torch

from focalbook.anchors import make_anchors
from focalbook.boxes import iou
from focalbook.matching import BACKGROUND, IGNORED, match
from focalbook.scenes import SceneSettings, render


def tensor(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def match_one(anchors, boxes, labels, **bounds):
    """Match a single image: its label and its box for every anchor, as lists."""
    matches = match(anchors, boxes[None], torch.tensor([labels]), **bounds)
    return matches.labels[0].tolist(), matches.boxes[0].tolist()


def below_a_perfect_anchor(*rows):
    """Anchors ``rows`` after one that fits the object exactly, so that the object has no need to claim any of them."""
    return tensor([0, 0, 10, 10], *rows)


OBJECT = tensor([0, 0, 10, 10])


def test_foreground_ignored_and_background_by_hand():
    anchors = below_a_perfect_anchor([0, 0, 10, 6], [0, 0, 10, 4.5], [0, 0, 10, 2], [50, 50, 60, 60])  # IoU .6 .45 .2 0
    labels, boxes = match_one(anchors, OBJECT, [2])
    assert labels == [2, 2, IGNORED, BACKGROUND, BACKGROUND]
    assert boxes[:2] == [[0, 0, 10, 10]] * 2  # foreground answers for the object
    assert boxes[2:] == anchors[2:].tolist()  # every other anchor for itself


@pytest.mark.parametrize(
    "height, expected",
    [
        (20, 0),  # IoU 100 / 200: exactly one half is foreground
        (20.001, IGNORED),
        (25, IGNORED),  # IoU 100 / 250: exactly 0.4 is ignored
        (25.001, BACKGROUND),
    ],
)
def test_the_bounds_themselves_belong_to_the_better_side(height, expected):
    assert match_one(below_a_perfect_anchor([0, 0, 10, height]), OBJECT, [0])[0] == [0, expected]


def test_other_bounds_move_the_band():
    anchors = below_a_perfect_anchor([0, 0, 10, 6], [0, 0, 10, 2])
    assert match_one(anchors, OBJECT, [0], foreground=0.7, background=0.3)[0] == [0, IGNORED, BACKGROUND]
    assert match_one(anchors, OBJECT, [0], foreground=0.2, background=0.2)[0] == [0, 0, 0]


def test_an_object_claims_its_best_anchor_however_small_the_overlap():
    anchors = tensor([0, 0, 10, 1], [0, 0, 10, 2], [50, 50, 60, 60])
    labels, boxes = match_one(anchors, OBJECT, [1])
    assert labels == [BACKGROUND, 1, BACKGROUND]
    assert boxes[1] == [0, 0, 10, 10]


def test_an_object_claims_all_its_equally_good_anchors():
    anchors = tensor([0, 0, 10, 2], [0, 8, 10, 10], [0, 4, 10, 6], [0, 0, 10, 1])
    assert match_one(anchors, OBJECT, [0])[0] == [0, 0, 0, BACKGROUND]


def test_a_claim_goes_before_a_larger_overlap():
    anchors = tensor([0, 0, 10, 10], [0, 0, 10, 16])
    objects = tensor([0, 0, 10, 10], [0, 12, 10, 20])  # IoU with the second anchor: .625, and .2 but its only one
    labels, boxes = match_one(anchors, objects, [0, 1])
    assert labels == [0, 1] and boxes[1] == [0, 12, 10, 20]


def test_two_objects_with_one_best_anchor_leave_it_to_the_larger_overlap():
    anchors = tensor([0, 0, 10, 10], [90, 90, 95, 95])
    objects = tensor([0, 0, 10, 3], [0, 3, 10, 10])
    labels, boxes = match_one(anchors, objects, [0, 1])
    assert labels == [1, BACKGROUND] and boxes[0] == [0, 3, 10, 10]


def test_an_anchor_between_two_objects_goes_to_the_nearer_one():
    anchors = tensor([0, 0, 10, 10], [20, 0, 30, 10], [1, 0, 11, 10])
    objects = tensor([20, 0, 30, 10], [0, 0, 10, 10])
    assert match_one(anchors, objects, [5, 7])[0] == [7, 5, 7]


def test_padding_rows_claim_nothing():
    anchors = make_anchors(32)
    objects = tensor([4, 4, 16, 16], [0, 0, 0, 0], [0, 0, 0, 0])
    with_padding = match_one(anchors, objects, [1, -1, -1])
    assert with_padding == match_one(anchors, objects[:1], [1])
    assert with_padding[0].count(BACKGROUND) > len(anchors) / 2


def test_a_padding_row_is_known_by_its_label_not_by_its_box():
    labels, _ = match_one(below_a_perfect_anchor([50, 50, 60, 60]), tensor([0, 0, 10, 10], [50, 50, 60, 60]), [0, -1])
    assert labels == [0, BACKGROUND]


def test_an_image_without_objects_is_all_background():
    anchors = make_anchors(32)
    labels, boxes = match_one(anchors, torch.zeros(2, 4, dtype=torch.float64), [-1, -1])
    assert set(labels) == {BACKGROUND} and boxes == anchors.tolist()


def test_a_batch_without_rows_for_objects_is_all_background():
    anchors = make_anchors(32)
    matches = match(anchors, torch.zeros(3, 0, 4), torch.zeros(3, 0, dtype=torch.int64))
    assert matches.labels.shape == (3, len(anchors)) and (matches.labels == BACKGROUND).all()
    assert torch.equal(matches.boxes, anchors.expand(3, -1, -1))


def test_a_single_anchor_is_enough():
    assert match_one(tensor([0, 0, 8, 8]), OBJECT, [4])[0] == [4]


def test_an_object_off_the_grid_claims_nothing():
    assert match_one(tensor([0, 0, 8, 8], [8, 0, 16, 8]), tensor([100, 100, 110, 110]), [0])[0] == [BACKGROUND] * 2


def test_an_image_is_matched_alike_alone_and_in_a_batch():
    settings = SceneSettings(objects=(0, 3))
    _, boxes, labels = render(range(6), settings=settings)
    anchors = make_anchors(settings.size)
    batch = match(anchors, boxes, labels)
    for image in range(6):
        alone = match(anchors, boxes[image : image + 1], labels[image : image + 1])
        assert torch.equal(alone.labels[0], batch.labels[image]) and torch.equal(alone.boxes[0], batch.boxes[image])


def test_every_label_follows_from_the_overlaps():
    settings = SceneSettings(objects=(1, 3))
    _, boxes, labels = render(range(6), settings=settings)
    anchors = make_anchors(settings.size)
    matches = match(anchors, boxes, labels)
    for image in range(6):
        overlap = iou(boxes[image][labels[image] >= 0], anchors)
        best = overlap.amax(0)
        claimed = (overlap >= overlap.amax(1, keepdim=True) * (1 - 1e-6)).any(0)
        label = matches.labels[image]
        assert torch.equal(label >= 0, claimed | (best >= 0.5))
        assert torch.equal(label == IGNORED, ~claimed & (best >= 0.4) & (best < 0.5))
        assert torch.equal(label == BACKGROUND, ~claimed & (best < 0.4))


def test_the_matched_boxes_take_the_anchors_dtype():
    anchors = make_anchors(32).float()
    _, boxes, labels = render(0, settings=SceneSettings(size=48, distractors=3))
    assert match(anchors, boxes, labels).boxes.dtype == torch.float32


@pytest.mark.parametrize("foreground, background", [(0.4, 0.5), (0.5, 0.0), (1.5, 0.4), (0.5, -0.1)])
def test_impossible_bounds_are_named_with_their_values(foreground, background):
    with pytest.raises(ValueError, match=f"background <= foreground <= 1, got {background} and {foreground}"):
        match(OBJECT, OBJECT[None], torch.tensor([[0]]), foreground, background)


def test_a_crowd_is_matched_as_it_would_be_alone():
    """Rows of objects are compared a few at a time, and images without an object in those rows are passed over."""
    generator = torch.Generator().manual_seed(0)
    anchors = make_anchors(64)
    low = torch.rand(3, 90, 2, generator=generator, dtype=torch.float64) * 50
    boxes = torch.cat([low, low + 2 + 12 * torch.rand(3, 90, 2, generator=generator, dtype=torch.float64)], dim=-1)
    labels = torch.randint(0, 3, (3, 90), generator=generator)
    labels[1, 2:], labels[2] = -1, -1
    together = match(anchors, boxes, labels)
    for image, count in enumerate((90, 2, 0)):
        overlap = iou(boxes[image, :count], anchors)
        alone = match(anchors, boxes[image : image + 1, :count], labels[image : image + 1, :count])
        assert torch.equal(together.labels[image], alone.labels[0])
        assert torch.equal(together.boxes[image], alone.boxes[0])
        if count:  # by hand: an object has one of its best anchors unless a better one claims it
            best = overlap.max(dim=0)
            sure = best.values >= 0.5
            claimed = (overlap >= overlap.amax(dim=1, keepdim=True) * (1 - 1e-6)).any(dim=0)
            free = sure & ~claimed
            assert torch.equal(together.labels[image][free], labels[image][best.indices[free]])
            assert (together.labels[image][claimed] >= 0).all()


def test_the_rows_taken_at_a_time_do_not_show(monkeypatch):
    boxes, labels = render(range(4), settings=SceneSettings(objects=(3, 10)))[1:]
    anchors, want = make_anchors(96), None
    for rows in (16, 1, 3, 100):
        monkeypatch.setattr("focalbook.matching.ROWS", rows)
        found = match(anchors, boxes, labels)
        want = want or found
        assert torch.equal(found.labels, want.labels) and torch.equal(found.boxes, want.boxes)


def test_a_crowded_image_takes_no_more_memory_than_a_few_objects(monkeypatch):
    monkeypatch.setattr("focalbook.matching.iou", lambda a, b: sizes.append(len(a) * a.shape[1]) or iou(a, b))
    anchors, sizes = make_anchors(64), []
    boxes = torch.tensor([10.0, 10, 20, 20]).expand(8, 600, 4)
    labels = torch.full((8, 600), -1)
    labels[:, 0], labels[3] = 0, 0
    match(anchors, boxes, labels)
    assert max(sizes) <= 8 * 16 and sum(sizes) <= 8 * 16 + 600


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_an_object_that_is_not_finite_is_named_and_padding_may_be_anything(broken):
    boxes, told = torch.tensor([[[0.0, 0, 10, 10], [0, broken, 10, 10]]]), "in row 1 of image 0"
    with pytest.raises(ValueError, match=rf"boxes must be finite, got \[0.0, {broken}, 10.0, 10.0\] {told}"):
        match(OBJECT, boxes, torch.tensor([[0, 1]]))
    assert match(OBJECT, boxes, torch.tensor([[0, -1]])).labels.tolist() == [[0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_matches_like_float32(dtype):
    anchors, boxes = make_anchors(64).to(dtype), torch.tensor([[[4.0, 4, 20, 20]]])
    half, single = (match(one, boxes, torch.tensor([[1]])) for one in (anchors, anchors.float()))
    assert torch.equal(half.labels, single.labels)
