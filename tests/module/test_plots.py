"""The figures' style, and scenes with boxes."""

import builtins
from itertools import combinations

import pytest
import torch
from contrast import contrast

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib.colors import to_rgb  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from focalbook.matching import BACKGROUND, IGNORED  # noqa: E402
from focalbook.plots import (  # noqa: E402
    BOX_COLORS,
    COLORS,
    INK,
    ROOM,
    draw_boxes,
    show_difference,
    show_retinanet,
    show_runs,
    show_scene,
    show_speed,
    show_tiles,
    show_truth_and_detections,
    steady,
    use_style,
)
from focalbook.retinanet import Detections  # noqa: E402
from focalbook.scenes import SceneSettings  # noqa: E402
from focalbook.training import LOSSES  # noqa: E402


@pytest.fixture
def axes():
    with matplotlib.rc_context():
        use_style()
        yield Figure().add_subplot()


def test_every_loss_has_its_own_color():
    assert list(COLORS) == list(LOSSES) and len(set(COLORS.values())) == 3


@pytest.mark.parametrize("ink", [*COLORS.values(), INK])
@pytest.mark.parametrize("paper", ["white", "black"])
def test_lines_and_axes_stand_out_from_white_and_from_black(ink, paper):
    # WCAG 2 asks for a contrast of 3 to 1 for lines.
    assert contrast(*map(to_rgb, (ink, paper))) >= 3


def test_there_is_a_box_color_for_every_class():
    assert len(set(BOX_COLORS)) >= len(SceneSettings().classes)


def test_the_style_draws_on_transparent_ground_in_the_books_colors():
    with matplotlib.rc_context():
        use_style()
        assert matplotlib.rcParams["figure.facecolor"] == matplotlib.rcParams["axes.facecolor"] == "none"
        assert matplotlib.rcParams["axes.prop_cycle"].by_key()["color"][:3] == list(COLORS.values())


def test_the_style_makes_the_bytes_of_an_svg_stable(tmp_path):
    paths = [tmp_path / name for name in ("first.svg", "second.svg")]
    with matplotlib.rc_context():
        use_style()
        for path in paths:
            figure = Figure()
            figure.add_subplot().plot([0, 1], [1, 0], marker="o", clip_on=True)
            figure.savefig(path, metadata={"Date": None})
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_notebook_is_asked_for_svg_without_a_date(monkeypatch):
    backend = pytest.importorskip("matplotlib_inline.backend_inline")
    asked = []
    monkeypatch.setattr(builtins, "get_ipython", lambda: None, raising=False)
    monkeypatch.setattr(backend, "set_matplotlib_formats", lambda *formats, **options: asked.append((formats, options)))
    with matplotlib.rc_context():
        use_style()
    assert asked == [(("svg",), {"metadata": {"Date": None}})]


def test_a_scene_is_shown_in_pixel_coordinates(axes):
    show_scene(axes, torch.rand(3, 20, 40))
    assert tuple(axes.images[0].get_extent()) == (0, 40, 20, 0)
    assert len(axes.patches) == 0


def test_every_box_is_drawn_in_its_classes_color_and_padding_is_not(axes):
    boxes = torch.tensor([[1.0, 2, 11, 8], [3, 3, 9, 9], [0, 0, 0, 0]])
    show_scene(axes, torch.zeros(3, 20, 20), boxes, torch.tensor([2, 0, -1]), style="--")
    assert [patch.get_bbox().bounds for patch in axes.patches] == [(1, 2, 10, 6), (3, 3, 6, 6)]
    assert [patch.get_edgecolor()[:3] for patch in axes.patches] == [to_rgb(BOX_COLORS[2]), to_rgb(BOX_COLORS[0])]


def test_texts_beside_boxes_stand_apart_and_in_the_picture_or_just_above_it(axes):
    boxes = torch.tensor([[1.0, 20, 11, 30], [3, 20, 9, 30], [2, 21, 10, 31], [30, 2, 39, 8], [35, 30, 39, 39]])
    show_scene(axes, torch.zeros(3, 40, 40), boxes, texts=["0.95", "0.80", "0.62", "0.51", "0.40"])
    axes.figure.draw_without_rendering()
    grounds = [text.get_bbox_patch().get_window_extent() for text in axes.texts]
    assert len(grounds) == 5 and not any(one.overlaps(other) for one, other in combinations(grounds, 2))
    (left, low), (right, high) = axes.bbox.padded(2).get_points()
    room = ROOM * axes.figure.dpi / 72
    assert all(left <= one.x0 and one.x1 <= right and low <= one.y0 and one.y1 <= high + room for one in grounds)


def test_texts_stand_apart_where_the_figure_is_wider_than_the_picture(axes):
    show_scene(
        axes, torch.zeros(3, 96, 96), torch.tensor([[20.0, 40, 40, 60], [26, 40, 46, 60]]), texts=["0.95", "0.80"]
    )
    axes.figure.draw_without_rendering()
    one, other = (text.get_bbox_patch().get_window_extent() for text in axes.texts)
    assert not one.overlaps(other)


def test_a_text_stands_above_its_box_or_else_below(axes):
    show_scene(axes, torch.zeros(3, 40, 40), torch.tensor([[5.0, 20, 15, 30], [5, 0, 15, 10]]), texts=["one", "two"])
    (_, above), (_, below) = (text.get_position() for text in axes.texts)
    assert 10 < above < 20 and below > 10


def test_outlines_are_all_alike(axes):
    draw_boxes(axes, torch.tensor([[1.0, 2, 11, 8], [3, 3, 9, 9]]), COLORS["focal loss"], ":", 3)
    assert [patch.get_bbox().bounds for patch in axes.patches] == [(1, 2, 10, 6), (3, 3, 6, 6)]
    kinds = {(patch.get_edgecolor()[:3], patch.get_linestyle(), patch.get_linewidth()) for patch in axes.patches}
    assert kinds == {(to_rgb(COLORS["focal loss"]), ":", 3)}


def test_the_nine_tiles_of_a_place_are_neighbors_and_colored_by_their_label(axes):
    labels = torch.full((36,), BACKGROUND)
    labels[0], labels[9 + 8], labels[18] = IGNORED, 2, 0  # of the first, the second and the third place
    show_tiles(axes, labels)
    drawn = axes.images[0].get_array()
    found = {(row, column) for row, column in zip(*(drawn[..., 3] == 1).nonzero())}
    assert drawn.shape == (6, 6, 4) and found == {(2, 5), (3, 0)}
    assert (drawn[2, 5, :3] == to_rgb(BOX_COLORS[2])).all() and drawn[0, 0, 3] > drawn[5, 5, 3]


def test_the_truth_is_dashed_and_only_sure_detections_are_drawn_with_their_scores(axes):
    found = Detections(torch.tensor([[1.0, 20, 11, 30], [3, 3, 9, 9]]), torch.tensor([0.75, 0.2]), torch.tensor([1, 0]))
    truth, labels = torch.tensor([[2.0, 20, 12, 30], [0, 0, 0, 0]]), torch.tensor([1, -1])
    show_truth_and_detections(axes, torch.zeros(3, 40, 40), truth, labels, found)
    drawn = [(patch.get_linestyle(), patch.get_bbox().bounds) for patch in axes.patches]
    assert drawn == [("-", (1, 20, 10, 10)), ("--", (2, 20, 10, 10))]
    assert axes.patches[0].get_edgecolor()[:3] == to_rgb(BOX_COLORS[1])
    assert [text.get_text() for text in axes.texts] == ["0.75"]


def test_every_part_of_a_retinanet_has_its_box_with_its_shape(axes):
    maps = [(8, 24, 24), (8, 12, 12)]
    show_retinanet(axes, (3, 96, 96), (8, 48, 48), maps, maps, ["classes", "boxes"])
    said = [text.get_text() for text in axes.texts]
    for part in ("image\n3 × 96 × 96", "stem\n8 × 48 × 48", "stage 1\n8 × 24 × 24", "level 2\n8 × 12 × 12", "classes"):
        assert said.count(part) == 1
    assert len(axes.patches) == 2 + 2 * 2 + 2  # image and stem, a stage and a level each, the subnets
    places = {text.get_text().split("\n")[0]: text.get_position() for text in axes.texts}
    assert places["image"][1] < places["stem"][1] < places["stage 1"][1] < places["stage 2"][1]
    assert places["stage 1"][0] < places["level 1"][0] < places["classes"][0]


@pytest.mark.parametrize("show, along, across", [(show_difference, 0, 1), (show_runs, 1, 0)])
def test_the_mean_stands_among_its_points_with_its_interval(axes, show, along, across):
    show(axes, 2, [0.1, 0.2, 0.6], (0.15, 0.5), INK)
    points, mean = (line.get_xydata() for line in axes.lines[-2:])
    assert points[:, along].tolist() == [0.1, 0.2, 0.6] and set(points[:, across]) == {2}
    assert mean[0, along] == pytest.approx(0.3)
    (segment,) = axes.collections[0].get_segments()
    assert segment[:, along].tolist() == [0.15, 0.5]


def test_speeds_are_drawn_one_panel_a_device_and_only_what_was_measured():
    def row(device, variant, logits):
        return dict(device=device, pages="kept", variant=variant, logits=logits, times=[1.0, 1.5, 2.0])

    figure = Figure(layout="constrained")
    sizes = (10**5, 10**6)
    show_speed(figure, [row("cpu", "focalbook", n) for n in sizes] + [row("cuda", "limit", n) for n in sizes])
    assert [panel.get_title() for panel in figure.axes] == ["CPU, pages kept", "CUDA, pages kept"]
    assert [[line.get_label() for line in panel.lines] for panel in figure.axes] == [["focalbook"], ["limit"]]
    assert figure.axes[0].lines[0].get_xydata().tolist() == [[10**5, 1.5], [10**6, 1.5]]


def test_values_are_steadied_to_significant_digits_whatever_their_size():
    values = torch.tensor([[123456.0, -0.00123456], [0.0, 9.9999]], dtype=torch.float64)
    assert steady(values).tolist() == [[123000.0, -0.00123], [0.0, 10.0]]
    assert steady([1.23456], digits=2).tolist() == [1.2]


def test_a_change_in_the_last_bits_is_not_drawn():
    values = torch.rand(1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    assert (steady(values) == steady(values * (1 + 1e-13))).all()
