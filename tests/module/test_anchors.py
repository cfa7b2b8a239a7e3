"""The grid of candidate boxes."""

import pytest
import torch

from focalbook.anchors import AnchorSettings, cell_anchors, grid_anchors, make_anchors, places_per_level
from focalbook.boxes import area


def centers(anchors):
    return (anchors[:, :2] + anchors[:, 2:]) / 2


def test_a_two_by_two_grid_by_hand():
    anchors = grid_anchors(cell_anchors(32), (2, 2), stride=8)
    assert anchors.tolist() == [[-12, -12, 20, 20], [-4, -12, 28, 20], [-12, -4, 20, 28], [-4, -4, 28, 28]]


def test_centers_lie_half_a_stride_in():
    anchors = grid_anchors(cell_anchors(5), (2, 3), stride=4)
    assert centers(anchors).tolist() == [[2, 2], [6, 2], [10, 2], [2, 6], [6, 6], [10, 6]]


def test_a_ratio_is_height_over_width():
    assert cell_anchors(8, ratios=(4.0,)).tolist() == [[-2, -8, 2, 8]]


def test_scales_vary_slowest():
    anchors = cell_anchors(8, scales=(1.0, 2.0), ratios=(0.25, 1.0))
    assert anchors.tolist() == [[-8, -2, 8, 2], [-4, -4, 4, 4], [-16, -4, 16, 4], [-8, -8, 8, 8]]


def test_every_ratio_has_the_area_of_its_scale():
    areas = area(cell_anchors(12, scales=(1, 2 ** (1 / 3), 2 ** (2 / 3)), ratios=(0.5, 1, 2))).view(3, 3)
    expected = torch.tensor([144, 144 * 2 ** (2 / 3), 144 * 2 ** (4 / 3)], dtype=torch.float64)
    torch.testing.assert_close(areas, expected[:, None].expand(3, 3))


def test_a_place_repeats_all_its_shapes_before_the_next_place():
    cell = cell_anchors(8, ratios=(1.0, 4.0))
    anchors = grid_anchors(cell, (1, 2), stride=10)
    shift = torch.tensor([10.0, 0, 10, 0], dtype=torch.float64)
    assert torch.equal(anchors[2:], anchors[:2] + shift)


def test_the_default_grid_has_nine_anchors_at_each_of_its_places():
    assert AnchorSettings().per_place == 9
    assert places_per_level(96) == [576, 144, 36]
    assert make_anchors(96).shape == (9 * 756, 4)


def test_an_image_that_is_no_multiple_of_the_stride_gets_a_place_for_the_rest():
    assert places_per_level(50) == [13**2, 7**2, 4**2]
    assert len(make_anchors(50)) == 9 * (169 + 49 + 16)


def test_levels_follow_each_other_fine_to_coarse():
    settings = AnchorSettings(strides=(4, 8), base=3.0, scales=(1.0,), ratios=(1.0,))
    anchors = make_anchors(16, settings)
    fine, coarse = anchors[:16], anchors[16:]
    assert area(fine).unique().tolist() == [12**2] and area(coarse).unique().tolist() == [24**2]
    assert centers(fine)[0].tolist() == [2, 2] and centers(coarse)[0].tolist() == [4, 4]


def test_the_grid_is_symmetric_about_the_middle_of_the_image():
    anchors = make_anchors(96)
    mirrored = 96 - anchors[:, [2, 1, 0, 3]]
    mirrored[:, [1, 3]] = anchors[:, [1, 3]]
    ours, theirs = (sorted(map(tuple, x.mul(1e6).round().long().tolist())) for x in (anchors, mirrored))
    assert ours == theirs


def test_anchors_are_float64_so_that_exact_overlaps_are_exact():
    assert make_anchors(32).dtype == torch.float64


@pytest.mark.parametrize(
    "setting, message",
    [
        (dict(strides=()), r"strides must .* got \(\)"),
        (dict(strides=(4, 0)), r"strides must .* got \(4, 0\)"),
        (dict(scales=()), r"scales must .* got \(\)"),
        (dict(scales=(1.0, -2.0)), r"scales must .* got \(1\.0, -2\.0\)"),
        (dict(ratios=(0.0,)), r"ratios must .* got \(0\.0,\)"),
        (dict(base=0), r"base must .* got 0"),
        (dict(base=-1.5), r"base must .* got -1\.5"),
    ],
)
def test_a_setting_without_anchors_is_named_with_its_value(setting, message):
    with pytest.raises(ValueError, match=message):
        AnchorSettings(**setting)


def test_neighboring_scales_differ_by_a_third_of_an_octave():
    sides = area(cell_anchors(1, AnchorSettings().scales)).sqrt()
    assert (sides[1:] / sides[:-1]).log2().tolist() == pytest.approx([1 / 3] * 2)
