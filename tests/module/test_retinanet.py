"""The network: its shapes, the order of its outputs, its start, its detections."""

import math

import pytest
import torch

from focalbook import retinanet
from focalbook.anchors import AnchorSettings, make_anchors
from focalbook.boxes import decode, encode, nms
from focalbook.retinanet import Detections, RetinaNet, Subnet, prior_bias

SIZE = 32


def small(seed=0, size=SIZE, **settings):
    """A small network for 32-pixel images of two classes."""
    return RetinaNet(2, size, channels=8, depth=1, generator=torch.Generator().manual_seed(seed), **settings)


def some_images(count=2, size=SIZE):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(9))


# ---- shapes and order ----


@pytest.mark.parametrize("size", [32, 40, 50, 96])
def test_there_is_one_row_of_outputs_for_every_anchor(size):
    logits, deltas = small(size=size)(some_images(3, size))
    anchors = len(make_anchors(size))
    assert logits.shape == (3, anchors, 2) and deltas.shape == (3, anchors, 4)


def test_the_level_sizes_add_up_to_the_anchors():
    model = small(size=50)
    assert model.level_sizes == [9 * 169, 9 * 49, 9 * 16]
    assert torch.equal(model.anchors, make_anchors(50))


def test_the_outputs_come_in_the_order_of_the_anchors():
    # Feed a subnet that copies its input with maps that hold the center of each of their places.
    settings = AnchorSettings(strides=(4, 8), scales=(1.0,), ratios=(0.5, 1.0, 2.0))
    subnet = Subnet(channels=2, depth=0, per_place=3, values=2)
    with torch.no_grad():
        subnet.output.weight.zero_()
        subnet.output.bias.zero_()
        for anchor in range(3):
            for value in range(2):
                subnet.output.weight[2 * anchor + value, value, 1, 1] = 1
    maps = []
    for stride in settings.strides:
        center = (torch.arange(SIZE // stride) + 0.5) * stride
        y, x = torch.meshgrid(center, center, indexing="ij")
        maps.append(torch.stack([x, y])[None])
    anchors = make_anchors(SIZE, settings).float()
    torch.testing.assert_close(subnet(maps)[0], (anchors[:, :2] + anchors[:, 2:]) / 2)


def test_the_values_of_one_anchor_stand_together():
    subnet = Subnet(channels=1, depth=0, per_place=2, values=3)
    with torch.no_grad():
        subnet.output.weight.zero_()
        subnet.output.bias.copy_(torch.arange(6.0))
    assert subnet([torch.zeros(1, 1, 1, 2)]).tolist() == [[[0, 1, 2], [3, 4, 5]] * 2]


def test_the_heads_are_shared_over_the_levels():
    maps = torch.randn(1, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    first, second = small().classification([maps, maps]).chunk(2, dim=1)
    assert torch.equal(first, second)

    def size_of_heads(model):
        heads = (model.classification, model.regression)
        return sum(parameter.numel() for head in heads for parameter in head.parameters())

    assert size_of_heads(small(anchors=AnchorSettings(strides=(4,)))) == size_of_heads(small())


def test_every_level_sees_what_lies_above_it():
    model = small()
    maps = [torch.zeros(1, width, side, side) for width, side in ((32, 8), (48, 4), (64, 2))]
    before = model.pyramid(maps)
    maps[2] = torch.ones_like(maps[2])
    assert all(not torch.equal(a, b) for a, b in zip(before, model.pyramid(maps)))


def test_the_images_of_a_batch_do_not_see_each_other():
    model, images = small().double(), some_images(3).double()
    together = model(images)
    for image in range(3):
        for alone, row in zip(model(images[image : image + 1]), together):
            torch.testing.assert_close(alone[0], row[image])


def test_depth_counts_the_convolutions_before_the_output():
    assert [len(RetinaNet(1, SIZE, channels=8, depth=depth).classification.tower) for depth in (0, 1, 4)] == [0, 1, 4]


@pytest.mark.parametrize("strides", [(2, 4), (8, 32), (4, 8, 8), (16, 8), (5,), (8, 16, 24)])
def test_strides_that_the_backbone_does_not_have_are_named(strides):
    with pytest.raises(ValueError, match="strides must be 4, 8, 16, .* or begin with a later one, got "):
        small(anchors=AnchorSettings(strides=strides))


def test_the_pyramid_may_begin_with_stride_8_as_the_papers_does():
    model = small(size=128, anchors=AnchorSettings(strides=(8, 16, 32, 64, 128)))  # P3 to P7
    logits, deltas = model(some_images(2, 128))
    assert model.level_sizes == [9 * side**2 for side in (16, 8, 4, 2, 1)]
    assert logits.shape == (2, len(model.anchors), 2) and deltas.shape == (2, len(model.anchors), 4)
    (logits.sum() + deltas.sum()).backward()
    assert all(weight.grad is not None for weight in model.parameters())  # the stage of stride 4 is on the way to all


def test_a_pyramid_from_stride_8_is_the_other_one_without_its_finest_level():
    fine, coarse = small(), small(anchors=AnchorSettings(strides=(8, 16)))
    weights = fine.state_dict()
    for kind in ("lateral", "smooth"):
        for level in (1, 2):
            for name in ("weight", "bias"):
                weights[f"pyramid.{kind}.{level - 1}.{name}"] = weights[f"pyramid.{kind}.{level}.{name}"]
        del weights[f"pyramid.{kind}.2.weight"], weights[f"pyramid.{kind}.2.bias"]
    coarse.load_state_dict(weights)
    for all_levels, some in zip(fine(some_images()), coarse(some_images())):
        torch.testing.assert_close(all_levels[:, fine.level_sizes[0] :], some)


DEVICES = ["meta", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


@pytest.mark.parametrize("device", DEVICES)
def test_the_device_and_the_type_are_those_of_the_weights_wherever_they_go(device):
    model = small()
    assert (model.device, model.dtype) == (torch.device("cpu"), torch.float32)
    model.double()
    assert (model.device, model.dtype) == (torch.device("cpu"), torch.float64)
    model.to(device)
    assert (model.device.type, model.dtype) == (device, torch.float64)
    model.to(dtype=torch.float16)
    assert (model.device.type, model.dtype) == (device, torch.float16)
    assert {(p.device, p.dtype) for p in model.parameters()} == {(model.device, model.dtype)}


# ---- the start ----


def test_the_papers_prior_gives_its_bias():
    assert prior_bias(0.01) == pytest.approx(-4.59512, abs=1e-5)


@pytest.mark.parametrize("prior", [1e-6, 0.01, 0.5, 0.9])
def test_the_bias_is_the_logit_of_the_prior(prior):
    assert 1 / (1 + math.exp(-prior_bias(prior))) == pytest.approx(prior)


@pytest.mark.parametrize("prior", [0, 1, -0.1, 1.5, math.nan])
def test_an_impossible_prior_is_named_with_its_value(prior):
    with pytest.raises(ValueError, match=f"prior must .* got {prior}"):
        prior_bias(prior)


@pytest.mark.parametrize("prior", [0.01, 0.1, 0.5])
def test_before_training_the_mean_probability_is_near_the_prior(prior):
    logits, _ = small(prior=prior)(some_images())
    assert logits.sigmoid().mean().item() == pytest.approx(prior, rel=0.05)


def test_before_training_the_boxes_are_near_the_anchors():
    _, deltas = small()(some_images())
    assert deltas.abs().mean() < 0.2


def test_the_generators_seed_decides_all_weights():
    torch.manual_seed(1)
    first = small(seed=3).state_dict()
    torch.manual_seed(2)
    second, other = small(seed=3).state_dict(), small(seed=4).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    drawn = [name for name in first if first[name].dim() == 4]  # the convolutions; the rest starts at 0 and 1
    assert all(not torch.equal(first[name], other[name]) for name in drawn)


def test_the_anchors_are_not_saved_with_the_weights():
    assert "anchors" not in small().state_dict()


# ---- detections ----


class Planted(RetinaNet):
    """A network that finds what it is told: (anchor, class, probability, box or None for the anchor itself)."""

    def __init__(self, finds, images=1):
        super().__init__(2, SIZE, channels=8, depth=0)
        self.logits = torch.full((images, len(self.anchors), 2), -20.0)
        self.deltas = torch.zeros(images, len(self.anchors), 4)
        for anchor, label, probability, box in finds:
            self.logits[0, anchor, label] = math.log(probability / (1 - probability))
            if box is not None:
                box = torch.tensor(box, dtype=torch.float64)
                self.deltas[0, anchor] = encode(box, self.anchors[anchor]).float()

    def forward(self, images):
        return self.logits, self.deltas

    def find(self, **options):
        return self.detect(torch.zeros(len(self.logits), 3, SIZE, SIZE), **options)


def test_a_planted_object_is_detected():
    (found,) = Planted([(4, 1, 0.8, (3, 4, 15, 18))]).find()
    torch.testing.assert_close(found.boxes, torch.tensor([[3.0, 4, 15, 18]]))
    torch.testing.assert_close(found.scores, torch.tensor([0.8]))
    assert found.labels.tolist() == [1]


def test_every_level_reports_its_own_anchors():
    sizes = small().level_sizes
    places = {"first": 7, "second": sizes[0] + 7, "third": sizes[0] + sizes[1] + 7}
    boxes = {"first": (0, 0, 8, 8), "second": (10, 10, 20, 20), "third": (22, 22, 31, 31)}
    finds = [(places[level], 0, score, boxes[level]) for level, score in zip(places, (0.5, 0.7, 0.9))]
    (found,) = Planted(finds).find()
    torch.testing.assert_close(found.boxes, torch.tensor([boxes[k] for k in ("third", "second", "first")]).float())


def test_scores_up_to_the_cut_are_left_out():
    model = Planted([(0, 0, 0.04, (0, 0, 5, 5)), (1, 0, 0.06, (10, 10, 15, 15))])
    assert len(model.find()[0].scores) == 1
    assert len(model.find(score=0.03)[0].scores) == 2
    assert len(model.find(score=0.07)[0].scores) == 0


def test_boxes_are_cut_at_the_images_edge():
    (found,) = Planted([(0, 0, 0.9, (-5, -6, 10, 40))]).find()
    torch.testing.assert_close(found.boxes, torch.tensor([[0.0, 0, 10, 32]]))


def test_the_worse_of_two_boxes_on_one_object_goes_unless_it_is_of_another_class():
    box, nearly = (4, 4, 20, 20), (4, 4, 20, 19)
    (found,) = Planted([(0, 0, 0.7, box), (1, 0, 0.9, nearly), (2, 1, 0.6, box)]).find()
    assert [round(score, 2) for score in found.scores.tolist()] == [0.9, 0.6] and found.labels.tolist() == [0, 1]


def test_one_anchor_may_report_two_classes():
    (found,) = Planted([(5, 0, 0.6, None), (5, 1, 0.7, None)]).find()
    assert found.labels.tolist() == [1, 0]


def test_the_best_scores_come_first_and_only_so_many():
    boxes = [(x, y, x + 3, y + 3) for x in (0, 8, 16, 24) for y in (0, 8, 16, 24)]
    model = Planted([(k, 0, 0.1 + 0.05 * k, box) for k, box in enumerate(boxes)])
    (all_of_them,), (best,) = model.find(), model.find(most=3)
    assert len(all_of_them.scores) == 16 and (all_of_them.scores.diff() < 0).all()
    assert torch.equal(best.boxes, all_of_them.boxes[:3])


def test_a_level_reports_only_its_best():
    coarse = small().level_sizes[0]
    finds = [(0, 0, 0.6, (0, 0, 5, 5)), (1, 0, 0.9, (8, 8, 13, 13)), (coarse, 0, 0.5, (20, 20, 25, 25))]
    (found,) = Planted(finds).find(per_level=1)
    assert [round(score, 2) for score in found.scores.tolist()] == [0.9, 0.5]


def one_by_one(model, images, score, per_level, overlap, most):
    """Detections image by image and level by level, as the paper says it."""
    found = []
    for logits, deltas in zip(*model(images)):
        kept = []
        levels = zip(*(part.split(model.level_sizes) for part in (logits.sigmoid(), deltas, model.anchors.to(deltas))))
        for scores, level_deltas, anchors in levels:
            best, where = scores.flatten().topk(min(per_level, scores.numel()))
            best, where = best[best > score], where[best > score]
            anchor, label = where // scores.shape[1], where % scores.shape[1]
            kept.append((decode(level_deltas[anchor], anchors[anchor]).clamp(0, SIZE), best, label))
        boxes, scores, labels = (torch.cat(parts) for parts in zip(*kept))
        keep = nms(boxes, scores, labels, overlap)[:most]
        found.append(Detections(boxes[keep], scores[keep], labels[keep]))
    return found


@pytest.mark.parametrize("pairs", [1, 2**23])
@pytest.mark.parametrize(
    "options", [(0.2, 999, 0.5, 999), (0.0, 60, 0.3, 300), (0.1, 999, 0.5, 5), (0.999, 9, 0.5, 9), (-1.0, 20, 0.5, 99)]
)
def test_a_batch_is_detected_as_its_images_one_by_one_to_the_bit(monkeypatch, options, pairs):
    monkeypatch.setattr(retinanet, "PAIRS", pairs)
    model, images = small(prior=0.1), some_images(5)
    images[2] = 0.5  # many equal scores
    with torch.no_grad():
        model.classification.output.weight.mul_(40)
        expected = one_by_one(model, images, *options)
    for mine, theirs in zip(model.detect(images, *options), expected, strict=True):
        assert all(torch.equal(*pair) for pair in zip(mine, theirs, strict=True))


def test_an_image_without_detections_has_empty_ones():
    found, nothing = Planted([(0, 0, 0.9, None)], images=2).find()
    assert len(found.scores) == 1
    assert nothing.boxes.shape == (0, 4) and nothing.scores.shape == (0,) and nothing.labels.shape == (0,)


def test_detecting_leaves_no_graph():
    assert not any(part.requires_grad for part in small().detect(some_images(1), score=0.0)[0])


def test_detections_of_float64_images_are_float64():
    (found,) = small().double().detect(some_images(1).double(), score=0.0)
    assert found.boxes.dtype == found.scores.dtype == torch.float64


@pytest.mark.parametrize(
    "images, told",
    [
        (
            torch.zeros(1, 3, SIZE + 8, SIZE + 8),
            rf"images must be \(B, 3, {SIZE}, {SIZE}\), .* got \(1, 3, {SIZE + 8}, ",
        ),
        (torch.zeros(1, 3, SIZE, SIZE // 2), "images must be"),
        (torch.zeros(3, SIZE, SIZE), "images must be"),
        (torch.zeros(1, 1, SIZE, SIZE), "images must be"),
        (torch.zeros(1, 1, 3, SIZE, SIZE), "images must be"),
        (torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8), "got torch.uint8: divide bytes by 255"),
        (torch.zeros(1, 3, SIZE, SIZE, dtype=torch.float64), "got torch.float64: use images.to"),
        (torch.zeros(1, 3, SIZE, SIZE, dtype=torch.float16), "got torch.float16: use images.to"),
    ],
)
def test_images_that_the_model_is_not_made_for_are_refused_with_the_cure(images, told):
    for call in (small(), small().detect):
        with pytest.raises(ValueError, match=told):
            call(images)


def test_autocast_may_hand_over_half_precision():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, _ = small()(some_images().bfloat16())
    assert logits.isfinite().all()


def test_what_is_not_finite_is_no_detection():
    images = some_images()
    images[1, 0, 5, 5] = math.nan
    with pytest.raises(FloatingPointError, match="diverged, or the images are not finite"):
        small().detect(images)
