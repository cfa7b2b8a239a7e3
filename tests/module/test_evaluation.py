"""Average precision, on detections whose AP is known."""

import math
from types import SimpleNamespace

import pytest
import torch

from focalbook.evaluation import (
    as_detections,
    as_rows,
    average_precision,
    detect_scenes,
    evaluate,
    outcomes,
    reachable,
)
from focalbook.retinanet import Detections
from focalbook.scenes import TEST, VALIDATION, Scenes, SceneSettings, render
from focalbook.training import TrainSettings, new_model

pytest.importorskip("pycocotools")

CLASSES = ("disc", "square")
A, B, C = (10, 10, 30, 30), (50, 50, 80, 70), (0, 60, 10, 90)
FAR = (90, 0, 96, 6)


def scenes_of(*images):
    """Scenes from a list of (box, class) for each image, padded; the pixels do not matter."""
    most = max(1, *map(len, images))
    boxes = torch.zeros(len(images), most, 4, dtype=torch.float64)
    labels = torch.full((len(images), most), -1)
    for image, objects in enumerate(images):
        for row, (box, label) in enumerate(objects):
            boxes[image, row], labels[image, row] = torch.tensor(box), label
    return Scenes(torch.zeros(len(images), 3, 96, 96), boxes, labels)


def found(*rows):
    """Detections of one image from (box, class, score)."""
    boxes = torch.tensor([box for box, _, _ in rows], dtype=torch.float64).view(-1, 4)
    return Detections(boxes, torch.tensor([row[2] for row in rows]), torch.tensor([row[1] for row in rows]).long())


def ap(detections, scenes):
    """The scores to 12 digits: the COCO library adds a last bit to its divisors, so 1 is not always exactly 1."""

    def rounded(values):
        return {key: rounded(value) if isinstance(value, dict) else round(value, 12) for key, value in values.items()}

    return rounded(average_precision(detections, scenes, CLASSES))


def test_perfect_detections_have_ap_1():
    score = ap([found((A, 0, 0.9), (B, 1, 0.3)), found((C, 0, 0.5))], scenes_of([(A, 0), (B, 1)], [(C, 0)]))
    assert score == {"AP": 1, "AP50": 1, "AP75": 1, "by class": {"disc": 1, "square": 1}, "recall": 1}


def test_no_detections_have_ap_0():
    score = ap([found(), found()], scenes_of([(A, 0), (B, 1)], [(C, 0)]))
    assert score == {"AP": 0, "AP50": 0, "AP75": 0, "by class": {"disc": 0, "square": 0}, "recall": 0}


def test_a_right_a_wrong_and_a_right_detection_by_hand():
    # Precision is 1 at the 51 recalls from 0 to .5, and 2/3 at the 50 from .51 to 1.
    score = ap([found((A, 0, 0.9), (FAR, 0, 0.8), (B, 0, 0.7))], scenes_of([(A, 0), (B, 0)]))
    assert score["AP"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_half_of_the_objects_found_reach_half_of_the_recalls():
    assert ap([found((A, 0, 0.9))], scenes_of([(A, 0), (B, 0)]))["AP"] == pytest.approx(51 / 101)


def test_a_second_detection_of_one_object_is_wrong():
    score = ap([found((A, 0, 0.9), (A, 0, 0.8), (B, 0, 0.7))], scenes_of([(A, 0), (B, 0)]))
    assert score["AP"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_wrong_detection_below_all_right_ones_costs_nothing():
    assert ap([found((A, 0, 0.9), (FAR, 0, 0.1))], scenes_of([(A, 0)]))["AP"] == 1


def test_scores_are_compared_over_all_images():
    # The wrong detection of the second image comes before the right one of the first: precision 1/2.
    assert ap([found((A, 0, 0.5)), found((FAR, 0, 0.6))], scenes_of([(A, 0)], []))["AP"] == pytest.approx(0.5)


def test_the_right_box_with_the_wrong_class_is_worth_nothing():
    score = ap([found((A, 1, 0.9), (B, 0, 0.9))], scenes_of([(A, 0), (B, 1)]))
    assert score["AP"] == score["AP50"] == 0


def test_an_overlap_counts_at_the_thresholds_that_it_passes():
    # The upper 63 hundredths of the box: IoU .63 passes .50, .55 and .60 of the ten thresholds.
    score = ap([found(((10, 10, 30, 22.6), 0, 0.9))], scenes_of([(A, 0)]))
    assert score["AP50"] == 1 and score["AP75"] == 0 and score["AP"] == pytest.approx(0.3)


def test_the_mean_is_over_the_classes():
    score = ap([found((A, 0, 0.9))], scenes_of([(A, 0), (B, 1)]))
    assert score["by class"] == {"disc": 1, "square": 0} and score["AP"] == 0.5


def test_recall_counts_what_scores_above_the_false_detection_that_is_one_too_many():
    scenes = scenes_of([(A, 0), (B, 0)], [(C, 0)])
    first = found((A, 0, 0.9), (FAR, 0, 0.8), (FAR, 0, 0.7), (B, 0, 0.5))
    # Two scenes may have two false detections in all: those of .8 and .7, and the third takes what lies below it.
    assert ap([first, found((C, 0, 0.3))], scenes)["recall"] == 1
    assert ap([first, found((FAR, 0, 0.6), (C, 0, 0.3))], scenes)["recall"] == pytest.approx(1 / 3)
    assert ap([first, found((FAR, 0, 0.4), (C, 0, 0.3))], scenes)["recall"] == pytest.approx(2 / 3)


def test_recall_of_scenes_without_objects_is_nan():
    assert math.isnan(ap([found((A, 0, 0.9))], scenes_of([]))["recall"])


def test_what_became_of_each_scene():
    shifted = (10, 10, 30, 26)  # IoU .8 with A
    detections = [found((B, 1, 0.9), (shifted, 0, 0.7), (FAR, 1, 0.4), (A, 1, 0.6)), found()]
    first, second = outcomes(detections, scenes_of([(A, 0), (B, 1)], [(C, 0)]), CLASSES)
    assert first.labels == [0, 1] and first.scores == pytest.approx([0.7, 0.9])
    assert first.overlaps == pytest.approx([0.8, 1.0]) and first.false == pytest.approx([0.6, 0.4])
    assert second == ([0], [0.0], [0.0], [])


def test_what_is_reachable_is_the_best_box_of_the_right_class_before_nms():
    class Proposing:
        def detect(self, images, per_level, overlap, most):
            assert overlap == 1.0
            return [found((A, 0, 0.2), (B, 1, 0.9), ((10, 10, 30, 26), 0, 0.9)), found((A, 1, 0.5))]

    assert reachable(Proposing(), scenes_of([(B, 1), (A, 0)], [(A, 0)])) == [[1.0, 1.0], [0.0]]


def test_without_proposals_nothing_is_reachable():
    model = SimpleNamespace(detect=lambda images, **options: [found()])
    assert reachable(model, scenes_of([(A, 0), (B, 1)])) == [[0.0, 0.0]]


def test_a_class_without_objects_is_nan_and_left_out():
    score = ap([found((A, 0, 0.9), (B, 1, 0.9))], scenes_of([(A, 0)]))
    assert score["AP"] == score["AP50"] == score["AP75"] == 1
    assert score["by class"]["disc"] == 1 and math.isnan(score["by class"]["square"])


def test_scenes_without_any_object_have_no_ap():
    score = ap([found((A, 0, 0.9)), found()], scenes_of([], []))
    assert math.isnan(score["AP"])


def test_empty_scenes_with_nothing_found_change_nothing():
    assert ap([found(), found((A, 0, 0.9)), found()], scenes_of([], [(A, 0)], []))["AP"] == 1


def test_padding_rows_are_no_objects():
    scenes = scenes_of([(A, 0)], [(B, 0), (C, 0), (A, 1)])
    assert ap([found((A, 0, 0.9)), found((B, 0, 0.9), (C, 0, 0.8), (A, 1, 0.9))], scenes)["AP"] == 1


def test_only_the_100_best_detections_of_an_image_count():
    wrong = [(FAR, 0, 0.9)] * 99
    assert ap([found(*wrong, (A, 0, 0.1))], scenes_of([(A, 0)]))["AP"] == pytest.approx(1 / 100)
    assert ap([found(*wrong, (FAR, 0, 0.9), (A, 0, 0.1))], scenes_of([(A, 0)]))["AP"] == 0


def test_nothing_is_printed(capsys):
    ap([found((A, 0, 0.9))], scenes_of([(A, 0)]))
    assert capsys.readouterr() == ("", "")


def test_lengths_that_differ_are_named():
    with pytest.raises(ValueError, match="got 1 for 2"):
        ap([found()], scenes_of([(A, 0)], []))


# ---- with a model ----

SETTINGS = TrainSettings(channels=8, prior=0.045, scenes=SceneSettings(size=48, objects=(0, 2), distractors=1))


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b))


def test_detecting_sees_the_first_scenes_of_the_collection():
    model = new_model(0, SETTINGS)
    for seed in (TEST, VALIDATION):
        detections, scenes = detect_scenes(model, 5, SETTINGS.scenes, seed)
        assert len(detections) == 5 and same(scenes, render(range(5), seed, SETTINGS.scenes))


def test_the_batches_do_not_change_the_detections():
    model = new_model(0, SETTINGS).double()
    whole, _ = detect_scenes(model, 5, SETTINGS.scenes)
    parts, scenes = detect_scenes(model, 5, SETTINGS.scenes, batch=2)
    assert len(parts) == len(scenes.labels) == 5 and any(len(found.scores) for found in whole)
    for a, b in zip(whole, parts):
        assert torch.equal(a.labels, b.labels)
        torch.testing.assert_close(a.boxes, b.boxes)


def test_evaluate_is_the_ap_of_what_is_detected():
    model = new_model(0, SETTINGS)
    classes = SETTINGS.scenes.classes
    expected = average_precision(*detect_scenes(model, 6, SETTINGS.scenes, VALIDATION), classes)
    score = evaluate(model, 6, SETTINGS.scenes, VALIDATION)
    assert str(score) == str(expected)  # as text, because NaN is not equal to itself
    assert list(score["by class"]) == list(classes)


@pytest.mark.parametrize("count", [0, -1])
def test_judging_on_no_scenes_is_refused(count):
    with pytest.raises(ValueError, match=f"count must be at least 1, got {count}"):
        evaluate(None, count, SceneSettings())


# ---- detections in a record ----


def test_recorded_detections_come_back_to_a_hundredth():
    boxes = torch.tensor([[1.004, 2, 3, 4.5], [0, 0, 1, 1], [0, 0, 2, 2]], dtype=torch.float64)
    rows = as_rows(Detections(boxes, torch.tensor([0.91, 0.4, 0.2]), torch.tensor([2, 0, 1])))
    assert rows == [[1.0, 2, 3, 4.5, 0.91, 2], [0, 0, 1, 1, 0.4, 0]]  # 0.2 is not worth drawing
    found = as_detections(rows)
    assert found.boxes.tolist() == [[1.0, 2, 3, 4.5], [0, 0, 1, 1]] and found.labels.tolist() == [2, 0]


def test_no_recorded_detections_come_back_as_none():
    found = as_detections([])
    assert found.boxes.shape == (0, 4) and found.scores.shape == (0,) and found.labels.dtype == torch.int64


# ---- what must not be scored ----


@pytest.mark.parametrize(
    "row, told",
    [
        (((10, 10, math.nan, 30), 0, 0.9), r"a box must have finite corners .* got \[10.0, 10.0, nan, 30.0\]"),
        (((10, 10, math.inf, 30), 0, 0.9), "a box must have finite corners"),
        (((30, 10, 10, 30), 0, 0.9), "a box must have finite corners x1 <= x2 and y1 <= y2"),
        ((A, 0, math.nan), "a score must be finite, got nan"),
        ((A, 0, math.inf), "a score must be finite, got inf"),
        ((A, 2, 0.9), "a label must be from 0 to 1 for 2 classes, got 2: do yours count from 1?"),
        ((A, -1, 0.9), "a label must be from 0 to 1 for 2 classes, got -1"),
    ],
)
def test_a_detection_that_is_none_is_refused_with_its_image(row, told):
    with pytest.raises(ValueError, match=f"detections of image 1: {told}"):
        ap([found(), found(row)], scenes_of([(A, 0)], [(B, 1)]))


@pytest.mark.parametrize(
    "box, label, told",
    [((10, 10, math.nan, 30), 0, "finite corners"), (A, 2, "a label must be from 0 to 1"), (A, -2, "got -2")],
)
def test_an_object_that_is_none_is_refused_with_its_image(box, label, told):
    with pytest.raises(ValueError, match=f"objects of image 1: .*{told}"):
        ap([found(), found()], scenes_of([(A, 0)], [(box, label)]))


def test_scores_and_boxes_of_different_number_are_refused():
    one = found((A, 0, 0.9))
    with pytest.raises(ValueError, match="shorter|longer"):
        ap([one._replace(scores=torch.tensor([0.9, 0.8]))], scenes_of([(A, 0)]))


def test_two_classes_of_one_name_are_refused():
    with pytest.raises(ValueError, match="classes must have distinct names, got cat, cat"):
        average_precision([found()], scenes_of([(A, 0)]), ("cat", "cat"))


@pytest.mark.parametrize("part", ["regression", "classification"])
def test_a_model_that_has_diverged_is_not_judged(part):
    model = new_model(0, TrainSettings(channels=8))
    torch.nn.init.constant_(getattr(model, part).output.weight, math.nan)
    with pytest.raises(FloatingPointError, match="the model's outputs are not finite"):
        evaluate(model, 2, SceneSettings())
