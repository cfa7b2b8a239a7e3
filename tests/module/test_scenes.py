"""The synthetic scenes: pure functions of (seed, index) with exact boxes."""

import math

import pytest
import torch

from focalbook import scenes
from focalbook.anchors import make_anchors
from focalbook.matching import match
from focalbook.scenes import SHAPES, TEST, TRAIN, VALIDATION, SceneSettings, render

BARE = SceneSettings(
    size=144, objects=(6, 6), distractors=0, classes=tuple(SHAPES), contrast=(0.4, 0.4), clutter=0, noise=0
)
"""Nothing but six objects on plain gray, all shapes in use."""


SMALL = SceneSettings(size=8, cell=8, distractors=0, extent=(1.0, 3.0))
"""Few random numbers a scene."""


def drawn(count, settings=SMALL):
    """All random numbers of the first scenes of the collection 0."""
    return scenes._drawn(scenes._mix(scenes._mix(torch.tensor(0)) + torch.arange(count)), settings)


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b))


def cover(images):
    """Of ``BARE`` scenes, how much of each pixel an item covers: its color is 0.4 away from gray."""
    return (images[:, 0] - 0.5).abs() / 0.4


def bare_objects():
    """Of each object in 20 ``BARE`` scenes: shape, box, the corner of its cell, and the cover in its cell."""
    batch = render(range(20), settings=BARE, dtype=torch.float64)
    for covered, boxes, labels in zip(cover(batch.images), batch.boxes, batch.labels):
        for box, label in zip(boxes, labels):
            left, top = ((box[:2] + box[2:]) / 2 // BARE.cell * BARE.cell).int().tolist()
            yield BARE.classes[label], box, (left, top), covered[top : top + BARE.cell, left : left + BARE.cell]


# ---- a pure function ----


def test_rendering_twice_gives_the_same_bits():
    assert equal(render([3, 8], TEST), render([3, 8], TEST))


def test_a_scene_does_not_depend_on_its_batch():
    batch = render(range(6))
    for index in range(6):
        assert equal(render(index), [part[index : index + 1] for part in batch])


def test_a_scene_does_not_depend_on_the_order():
    assert equal(render([5, 0, 2]), [part[[5, 0, 2]] for part in render(range(6))])


def test_indices_may_be_a_number_a_sequence_or_a_tensor():
    assert equal(render(7), render([7])) and equal(render(7), render(torch.tensor([7])))


def test_collections_share_no_scene():
    first = [render(range(4), seed).images for seed in (TRAIN, VALIDATION, TEST, 12345)]
    for number, images in enumerate(first):
        assert all(not torch.equal(a, b) for other in first[:number] for a in images for b in other)


def test_the_global_generators_are_neither_used_nor_moved():
    torch.manual_seed(0)
    before, state = render(1), torch.get_rng_state()
    torch.manual_seed(1)
    assert equal(before, render(1))
    torch.manual_seed(0)
    assert torch.equal(state, torch.get_rng_state())


def test_the_first_test_scene_is_the_one_that_was_recorded():
    # No hand-computed values: they pin the data set, whose scenes must be the same on every machine.
    scene = render(0, TEST, dtype=torch.float64)
    assert scene.labels.tolist() == [[0]]
    box = torch.tensor([27.4774, 50.2104, 46.0815, 61.6932], dtype=torch.float64)
    torch.testing.assert_close(scene.boxes[0, 0], box, rtol=0, atol=1e-4)
    pixel = torch.tensor([0.4671581112, 0.6780359411, 0.3394841719], dtype=torch.float64)
    torch.testing.assert_close(scene.images[0, :, 0, 0], pixel, rtol=0, atol=1e-9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device to compare with")
def test_cuda_renders_the_cpus_scenes():
    for settings in (SceneSettings(), SceneSettings(size=192, distractors=30)):
        cpu = render(range(16), settings=settings, dtype=torch.float64)
        cuda = render(range(16), settings=settings, dtype=torch.float64, device="cuda")
        for ours, theirs in zip(cpu, cuda):
            torch.testing.assert_close(ours, theirs.cpu(), rtol=0, atol=1e-9)


# ---- the hash ----


def test_the_hash_is_splitmix64():
    # The published first outputs of SplitMix64 from the seed 1234567.
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    golden = torch.tensor(0x9E3779B97F4A7C15 - 2**64)
    outputs = scenes._mix(1234567 + golden * torch.arange(1, 5))
    assert [value % 2**64 for value in outputs.tolist()] == published


def test_random_numbers_are_uniform():
    numbers = drawn(1000).fine.flatten()
    assert 0 <= numbers.min() and numbers.max() < 1
    counts = (numbers * 64).long().bincount(minlength=64).double()
    expected = len(numbers) / 64
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert 28 < chi_squared < 115  # 63 degrees of freedom: 1 in 10 000 on either side


def test_every_random_bit_is_set_half_of_the_time():
    bits = drawn(1000).noise.flatten()
    share = torch.stack([((bits >> place) & 1).double().mean() for place in range(64)])
    assert ((share - 0.5).abs() < 5 * 0.5 / math.sqrt(len(bits))).all()


def test_neighboring_scenes_purposes_and_positions_are_uncorrelated():
    n = 20000
    numbers, other = (drawn(n).items[:, purpose, 0] for purpose in (scenes._X, scenes._Y))
    pairs = [(numbers[:, 0], numbers[:, 1]), (numbers[1:, 0], numbers[:-1, 0]), (numbers[:, 0], other[:, 0])]
    for a, b in pairs:
        assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < 5 / math.sqrt(n)


@pytest.mark.parametrize("settings", [SMALL, SceneSettings()], ids=["one cell", "default"])
def test_every_number_is_the_hash_of_its_scene_its_purpose_and_its_position_alone(settings):
    found, golden = drawn(3, settings), 0x9E3779B97F4A7C15 - 2**64
    parts = [*found.items.unbind(1), found.coarse, found.fine, found.noise]
    assert len(parts) == scenes._NOISE + 1
    for purpose, part in enumerate(parts):
        for scene, numbers in enumerate(part.flatten(1)):
            start = scenes._mix(scenes._mix(scenes._mix(torch.tensor(0)) + scene) + purpose + 1)
            want = scenes._mix(start + golden * torch.arange(1, 1 + len(numbers)))
            assert torch.equal(numbers, want if purpose == scenes._NOISE else scenes._uniform(want))


def test_pixel_noise_differs_between_pixels_and_channels():
    noise = scenes._pixel_noise(drawn(1, SceneSettings()).noise)
    assert noise.unique().numel() > 0.98 * noise.numel()  # 21 bits: a few of the 27648 numbers meet by chance
    assert -1 <= noise.min() and noise.max() < 1 and abs(noise.mean()) < 0.02


# ---- what a scene holds ----


def test_types_and_shapes():
    batch = render(range(3), settings=SceneSettings(size=72, objects=(0, 2)))
    assert batch.images.shape == (3, 3, 72, 72) and batch.images.dtype == torch.float32
    assert batch.boxes.shape == (3, 2, 4) and batch.boxes.dtype == torch.float64
    assert batch.labels.shape == (3, 2) and batch.labels.dtype == torch.int64


def test_the_dtype_only_rounds():
    assert torch.equal(render(range(2)).images, render(range(2), dtype=torch.float64).images.float())


def test_pixels_lie_in_0_to_1_even_at_the_strongest_settings():
    images = render(range(4), settings=SceneSettings(contrast=(0.5, 0.5), clutter=1, noise=1)).images
    assert images.min() == 0 and images.max() == 1


def test_boxes_lie_inside_the_image_and_have_the_asked_extent():
    settings = SceneSettings(objects=(4, 4))
    boxes = render(range(64), settings=settings).boxes
    assert boxes.min() >= 0 and boxes.max() <= settings.size
    sides = boxes[..., 2:] - boxes[..., :2]
    low, high = settings.extent
    assert sides.min() >= 2 * low - 1e-9 and sides.max() <= 2 * high + 1e-9
    assert sides.min() < 2 * low + 0.5 and sides.max() > 2 * high - 0.5  # the whole range is in use


def test_every_object_is_painted_right_up_to_its_box_and_not_beyond():
    for shape, (x1, y1, x2, y2), (left, top), covered in bare_objects():
        columns, rows = (covered.amax(axis).nonzero().flatten() for axis in (0, 1))
        # A pixel that an edge crosses reaches up to 1 pixel beyond the box; a triangle's corners are thin and fade.
        slack = 2 if shape == "triangle" else 1.4
        for painted, side in ((left + columns[0], x1), (top + rows[0], y1)):
            assert side - slack < painted < side + 0.5, shape
        for painted, side in ((left + columns[-1] + 1, x2), (top + rows[-1] + 1, y2)):
            assert side - 0.5 < painted < side + slack, shape


def test_the_painted_area_is_that_of_the_shape_that_the_label_names():
    # Area of each shape over that of its box; a ring's hole has half its size, a cross's arms 0.3 of its side.
    share = dict(disc=math.pi / 4, square=1, triangle=0.5, ring=math.pi / 4 * 0.75, cross=0.3 * (2 - 0.3), diamond=0.5)
    seen = set()
    for shape, (x1, y1, x2, y2), _, covered in bare_objects():
        assert covered.sum() / ((x2 - x1) * (y2 - y1)) == pytest.approx(share[shape], abs=0.015)
        seen.add(shape)
    assert seen == set(SHAPES)


def test_an_item_never_reaches_into_another_cell():
    settings = SceneSettings(objects=(1, 1), distractors=0, extent=(11, 11), contrast=(0.4, 0.4), clutter=0, noise=0)
    covered = cover(render(range(40), settings=settings, dtype=torch.float64).images) > 0
    cells = covered.unflatten(2, (4, 24)).unflatten(1, (4, 24)).any(4).any(2)
    assert (cells.sum((1, 2)) == 1).all()


def test_a_scene_holds_the_asked_distractors_beside_its_objects():
    settings = SceneSettings(objects=(2, 2), distractors=5, contrast=(0.4, 0.4), clutter=0, noise=0)
    covered = cover(render(range(10), settings=settings).images) > 0.01
    cells = covered.unflatten(2, (4, 24)).unflatten(1, (4, 24)).any(4).any(2)
    assert (cells.sum((1, 2)) == 7).all()


def test_all_counts_of_objects_occur_about_equally_often():
    labels = render(range(300), settings=SceneSettings(size=48, objects=(1, 3), distractors=0)).labels
    counts = (labels >= 0).sum(1).bincount()
    assert counts[0] == 0 and (counts[1:] - 100).abs().max() < 45  # 5 standard deviations


def test_all_classes_occur_about_equally_often():
    labels = render(range(300), settings=SceneSettings(size=24, distractors=0)).labels
    assert (labels.flatten().bincount() - 100).abs().max() < 45


def test_objects_lie_in_every_cell():
    settings = SceneSettings(distractors=0)
    boxes = render(range(200), settings=settings).boxes[:, 0]
    column, row = ((boxes[:, :2] + boxes[:, 2:]) / 2 // settings.cell).long().unbind(1)
    assert (row * 4 + column).unique().numel() == settings.cells


def test_padding_rows_are_last_and_zero_and_labeled_minus_1():
    batch = render(range(50), settings=SceneSettings(objects=(0, 3)))
    present = batch.labels >= 0
    assert not (present[:, 1:] & ~present[:, :-1]).any()
    assert (batch.labels[~present] == -1).all() and (batch.boxes[~present] == 0).all()
    assert (batch.boxes[present] > 0).any(-1).all()


def test_a_scene_may_be_empty():
    batch = render(range(50), settings=SceneSettings(objects=(0, 1)))
    assert (batch.labels == -1).any() and (batch.labels >= 0).any()


def test_a_collection_may_hold_no_objects_at_all():
    batch = render(range(2), settings=SceneSettings(objects=(0, 0)))
    assert batch.boxes.shape == (2, 0, 4) and batch.labels.shape == (2, 0)


@pytest.mark.parametrize(
    "settings, count, rarity", [(SceneSettings(), 64, 300), (SceneSettings(size=192, distractors=30), 16, 1000)]
)
def test_foreground_is_rarer_than_promised(settings, count, rarity):
    _, boxes, labels = render(range(count), settings=settings)
    foreground = match(make_anchors(settings.size), boxes, labels).labels >= 0
    assert 0 < foreground.double().mean() < 1 / rarity
    assert foreground.any(1).all()  # every object has an anchor all the same


# ---- errors ----


@pytest.mark.parametrize(
    "setting, message",
    [
        (dict(cell=7, size=49), r"cell must .* got 7"),
        (dict(size=100), r"size must .* got 100"),
        (dict(size=0), r"size must .* got 0"),
        (dict(objects=(2, 1)), r"objects must .* got \(2, 1\)"),
        (dict(objects=(-1, 1)), r"objects must .* got \(-1, 1\)"),
        (dict(distractors=-1), r"distractors must .* got -1"),
        (dict(objects=(1, 2), distractors=15), r"objects and distractors must fit in 16 cells, got 2 \+ 15"),
        (dict(extent=(5.0, 11.5)), r"extent must .* got \(5\.0, 11\.5\)"),
        (dict(extent=(0.5, 5.0)), r"extent must .* got \(0\.5, 5\.0\)"),
        (dict(extent=(8.0, 5.0)), r"extent must .* got \(8\.0, 5\.0\)"),
        (dict(classes=()), r"classes must .* got \(\)"),
        (dict(classes=("disc", "disc")), r"classes must .* got \('disc', 'disc'\)"),
        (dict(classes=("disc", "star")), r"classes must .* got 'star'"),
        (dict(classes=tuple(SHAPES)), r"classes must leave a shape for the distractors"),
        (dict(contrast=(0.4, 0.2)), r"contrast must .* got \(0\.4, 0\.2\)"),
        (dict(contrast=(0.1, 0.6)), r"contrast must .* got \(0\.1, 0\.6\)"),
        (dict(clutter=1.5), r"clutter must .* got 1\.5"),
        (dict(noise=-0.1), r"noise must .* got -0\.1"),
    ],
)
def test_a_setting_that_no_scene_can_meet_is_named_with_its_value(setting, message):
    with pytest.raises(ValueError, match=message):
        SceneSettings(**setting)


@pytest.mark.parametrize("seed", [0.0, "train", None])
def test_a_seed_that_is_no_integer_is_named(seed):
    with pytest.raises(ValueError, match=f"seed must be an integer, got {seed!r}"):
        render([0], seed)


def test_indices_that_lie_on_another_device_are_not_looked_at():
    assert render(torch.tensor([-1], device="meta"), device="meta").images.shape == (1, 3, 96, 96)


@pytest.mark.parametrize("indices", [-1, [0, -3], [[0, 1]]])
def test_wrong_indices_are_named(indices):
    with pytest.raises(ValueError, match="indices must .* got .*" + str(indices)[-3:].replace("]", r"\]")):
        render(indices)
