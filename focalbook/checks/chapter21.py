"""Checks of chapter 21: your own data."""

import numpy as np
import torch

from focalbook.checks.check import Check
from focalbook.coco import letterbox

right_edge = Check(
    reference=lambda: (30 + 40) * 64 / 128,
    mistakes={
        "a COCO box is left, top, width and height: the third number is no corner": lambda: 40 * 64 / 128,
        "the first two numbers are the left upper corner, not the center": lambda: (30 + 40 / 2) * 64 / 128,
        "the box stays as large as it was: it is shrunk with its picture": lambda: 30 + 40,
        "the longer side has to fit into the square: divide by 128": lambda: (30 + 40) * 64 / 96,
        "that is the height's direction: the right edge is left plus width": lambda: (20 + 10) * 64 / 128,
        "the way back: into the square, multiply by the factor": lambda: (30 + 40) * 128 / 64,
    },
)


def corners(box):
    x, y, width, height = box
    return x, y, x + width, y + height


def by_place(content):
    return {category["id"]: place for place, category in enumerate(content["categories"])}


def read(content, corners=corners, label_of=by_place, kept=lambda annotation: not annotation.get("iscrowd")):
    labels = label_of(content)
    found: dict = {image["id"]: ([], []) for image in content["images"]}
    for annotation in filter(kept, content["annotations"]):
        boxes, classes = found[annotation["image_id"]]
        boxes.append(corners(annotation["bbox"]))
        classes.append(labels[annotation["category_id"]])
    return {image: (np.array(boxes, dtype=float).reshape(-1, 4), np.array(c)) for image, (boxes, c) in found.items()}


def centered(box):
    x, y, width, height = box
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def by_id(content, less=0):
    return {category["id"]: category["id"] - less for category in content["categories"]}


def by_order_of_ids(content):
    return {number: place for place, number in enumerate(sorted(by_id(content)))}


def by_appearance(content):
    seen = dict.fromkeys(annotation["category_id"] for annotation in content["annotations"])
    return {number: place for place, number in enumerate(seen)}


def without_empty(content):
    return {image: found for image, found in read(content).items() if len(found[0])}


def flat_if_empty(content):
    return {image: (boxes if len(boxes) else np.zeros(0), c) for image, (boxes, c) in read(content).items()}


def annotation(image, category, *box, **more):
    return {"image_id": image, "category_id": category, "bbox": list(box)} | more


CONTENT = {
    "images": [{"id": 12, "file_name": "a.jpg"}, {"id": 7, "file_name": "b.jpg"}, {"id": 9, "file_name": "c.jpg"}],
    "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}, {"id": 44, "name": "bottle"}],
    "annotations": [
        annotation(7, 44, 30.0, 20.0, 40.0, 10.0),
        annotation(12, 1, 5.0, 6.0, 7.0, 20.0),
        annotation(7, 18, 0.0, 12.5, 30.5, 3.0),
        annotation(12, 1, 2.0, 2.0, 60.0, 50.0, iscrowd=1),
        annotation(7, 44, 1.0, 2.0, 3.0, 4.0),
    ],
}

coco_boxes = Check(
    reference=read,
    cases=(*((CONTENT | {"annotations": some},) for some in ([], CONTENT["annotations"][:1])), (CONTENT,)),
    mistakes={
        "a COCO box is left, top, width and height: turn it into corners": lambda content: read(content, corners=tuple),
        "the first two numbers are the left upper corner, not the center": lambda content: read(
            content, corners=centered
        ),
        "ids of categories have gaps and start anywhere: a label is the place in the list": lambda content: read(
            content, label_of=by_id
        ),
        "ids of categories have gaps: one less than the id is no label": lambda content: read(
            content, label_of=lambda content: by_id(content, less=1)
        ),
        "you number the categories by their ids: the list has an order of its own": lambda content: read(
            content, label_of=by_order_of_ids
        ),
        "you number the categories as they appear: another file would number them otherwise": lambda content: read(
            content, label_of=by_appearance
        ),
        "a crowd is a box around many objects: leave it out": lambda content: read(content, kept=lambda _: True),
        "you keep the crowds alone: leave them out": lambda content: read(
            content, kept=lambda annotation: annotation.get("iscrowd")
        ),
        "an image without boxes is a lesson in background: keep it": without_empty,
        "no boxes are an array of shape (0, 4): no row, and still four columns": flat_if_empty,
    },
)


def square(picture, gray=0.5, scale=255.0):
    height, width, _ = picture.shape
    pixels = torch.full((3, max(height, width), max(height, width)), gray, dtype=torch.float64)
    pixels[:, :height, :width] = torch.from_numpy(picture).permute(2, 0, 1) / scale
    return pixels


def own_maximum(picture):
    return square(picture, scale=float(picture.max()))


def cut_to_whole(picture):
    return torch.where(square(picture, gray=-1.0) < 0, 127 / 255, square(picture))


def whole_division(picture):
    return square(picture, scale=1.0).div(255, rounding_mode="floor").where(square(picture, gray=-1.0) >= 0, 0.5)


def reshaped(picture):
    return square(picture.reshape(3, *picture.shape[:2]).transpose(1, 2, 0))


def turned(picture):
    return square(picture).transpose(1, 2)


def blue_first(picture):
    return square(picture).flip(0)


def in_the_middle(picture):
    height, width, _ = picture.shape
    side = max(height, width)
    return square(picture).roll(((side - height) // 2, (side - width) // 2), dims=(1, 2))


def channels_last(picture):
    return square(picture).permute(1, 2, 0)


WIDE = np.array([[[0, 10, 200], [30, 255, 7], [1, 2, 3]], [[9, 8, 7], [100, 0, 50], [60, 70, 80]]], dtype=np.uint8)
TALL = WIDE.transpose(1, 0, 2).copy()
DARK = (WIDE // 4).astype(np.uint8)

picture_in_a_square = Check(
    reference=square,
    cases=((WIDE,), (TALL,), (DARK,), (WIDE[:1],)),
    mistakes={
        "pixels from 0 to 255: the network has learned from 0 to 1": lambda picture: square(
            picture, gray=127.5, scale=1.0
        ),
        "the picture lies between 0 and 1 and the gray does not: divide both by 255": lambda picture: square(
            picture, gray=127.5
        ),
        "the gray lies between 0 and 1 and the picture does not: divide it by 255": lambda picture: square(
            picture, scale=1.0
        ),
        "the rest is gray, not black": lambda picture: square(picture, gray=0.0),
        "divide by 255, the largest that a pixel can be, not by that of each picture": own_maximum,
        "divide by 255, so that the largest becomes 1": lambda picture: square(picture, scale=256.0),
        "whole numbers have no half: turn the picture into float64 before you fill the rest": cut_to_whole,
        "a division of whole numbers leaves 0 and 1 alone: turn the picture into float64 first": whole_division,
        "the picture belongs into the upper left: its boxes are not moved": in_the_middle,
        "reshape scrambles the colors: permute moves the axes": reshaped,
        "rows and columns have changed places": turned,
        "red and blue have changed places": blue_first,
        "the colors come first: the shape is (3, side, side)": channels_last,
    },
)

FAULTS = ("crowd", "box without area", "box outside the image")


def fault(annotation, width, height):
    x, y, w, h = annotation["bbox"]
    if annotation.get("iscrowd"):
        return "crowd"
    if w <= 0 or h <= 0:
        return "box without area"
    return "box outside the image" if x >= width or y >= height or x + w <= 0 or y + h <= 0 else None


def cut(box, width, height):
    x1, y1, x2, y2 = corners(box)
    return [max(0, x1), max(0, y1), min(width, x2), min(height, y2)]


def factors(width, height, size):
    return letterbox(width, height, size).numpy()


def clean(annotations, width, height, size, fault=fault, cut=cut, factors=factors, moved=0.0):
    boxes, left_out = [], dict.fromkeys(FAULTS, 0)
    for entry in annotations:
        what = fault(entry, width, height)
        if what:
            left_out[what] += 1
        else:
            boxes.append(cut(entry["bbox"], width, height))
    return np.array(boxes, dtype=float).reshape(-1, 4) * factors(width, height, size) + moved, left_out


def kept_outside(annotation, width, height):
    what = fault(annotation, width, height)
    return None if what == "box outside the image" else what


def kept_crowd(annotation, width, height):
    return fault(annotation | {"iscrowd": 0}, width, height)


def crowd_last(annotation, width, height):
    return kept_crowd(annotation, width, height) or fault(annotation, width, height)


def dropped_if_cut(annotation, width, height):
    box = annotation["bbox"]
    beyond = cut(box, width, height) != list(corners(box))
    return fault(annotation, width, height) or ("box outside the image" if beyond else None)


def touching(annotation, width, height):
    x, y, w, h = annotation["bbox"]
    what = fault(annotation, width, height)
    return None if what == FAULTS[2] and (x == width or y == height or x + w == 0 or y + h == 0) else what


def size_cut(box, width, height):
    x, y, w, h = box
    x, y, w, h = max(0, x), max(0, y), min(width, w), min(height, h)
    return [x, y, x + w, y + h]


def moved_in(box, width, height):
    x, y, w, h = box
    return cut([max(0, x), max(0, y), w, h], width, height)


def stretched(width, height, size):
    return np.array([size / width, size / height] * 2)


def unrounded(width, height, size):
    return size / max(width, height)


def cut_to_pixels(width, height, size):
    return np.array([max(1, int(side * size / max(width, height))) / side for side in (width, height)] * 2)


def rounded_to_nothing(width, height, size):
    return np.array([round(side * size / max(width, height)) / side for side in (width, height)] * 2)


def shorter(width, height, size):
    return size / min(width, height)


def centered_square(annotations, width, height, size):
    across, down = factors(width, height, size)[:2]
    boxes, left_out = clean(annotations, width, height, size)
    return boxes + np.array([size - across * width, size - down * height] * 2) / 2, left_out


def cut_in_the_square(annotations, width, height, size):
    boxes, left_out = clean(annotations, width, height, size, cut=lambda box, *_: corners(box))
    return boxes.clip(0, size), left_out


def flat_if_none(annotations, width, height, size):
    boxes, left_out = clean(annotations, width, height, size)
    return (boxes if len(boxes) else np.zeros(0)), left_out


def boxed(*box, **more):
    return {"bbox": list(box)} | more


ANNOTATIONS = [
    boxed(30.0, 18.0, 25.0, 36.0),
    boxed(-8.0, 5.0, 20.0, 70.0),
    boxed(40.0, -12.0, 75.0, 30.0),
    boxed(120.0, 10.0, 12.0, 12.0),
    boxed(10.0, 10.0, -5.0, 9.0),
    boxed(10.0, 10.0, 5.0, 0.0),
    boxed(0.0, 0.0, 0.0, 50.0, iscrowd=1),
    boxed(3.0, 4.0, 40.0, 50.0, iscrowd=1),
    boxed(100.0, 20.0, 10.0, 10.0),
]

letterboxed_boxes = Check(
    reference=clean,
    cases=(
        ([], 48, 48, 64),
        *(([entry], 100, 60, 64) for entry in ANNOTATIONS),
        (ANNOTATIONS, 60, 100, 64),
        (ANNOTATIONS[:1], 100, 67, 64),
        ([boxed(200.0, 1.0, 300.0, 3.0)], 1000, 5, 64),
    ),
    mistakes={
        "a COCO box is left, top, width and height: turn it into corners": lambda *case: clean(
            *case, cut=lambda box, width, height: [*box[:2], min(width, box[2]), min(height, box[3])]
        ),
        "you cut the width and not the right edge: turn the box into corners first": lambda *case: clean(
            *case, cut=size_cut
        ),
        "a box that starts before the edge loses that part: you move it in, with all of its width": lambda *case: clean(
            *case, cut=moved_in
        ),
        "the boxes are not cut at the edge of the picture": lambda *case: clean(
            *case, cut=lambda box, *_: corners(box)
        ),
        "cut at the edge of the picture, not of the square: boxes reach into the gray": cut_in_the_square,
        "a box outside the image is cut to nothing, and still there: leave it out": lambda *case: clean(
            *case, fault=kept_outside
        ),
        "a box that only touches the edge has nothing in the picture: it lies outside": lambda *case: clean(
            *case, fault=touching
        ),
        "a box that reaches beyond the edge is left out: keep the part that is inside": lambda *case: clean(
            *case, fault=dropped_if_cut
        ),
        "a crowd is a box around many objects: leave it out": lambda *case: clean(*case, fault=kept_crowd),
        "a crowd without area is counted as a crowd: ask for that first": lambda *case: clean(*case, fault=crowd_last),
        "width and height have one scale in a letterbox: you stretch the picture": lambda *case: clean(
            *case, factors=stretched
        ),
        "the shorter side becomes whole pixels: its factor is a little off the other": lambda *case: clean(
            *case, factors=unrounded
        ),
        "you cut the new side to a whole pixel: round it": lambda *case: clean(*case, factors=cut_to_pixels),
        "a very flat picture keeps at least one pixel: your shorter side is 0": lambda *case: clean(
            *case, factors=rounded_to_nothing
        ),
        "the longer side has to fit into the square, not the shorter": lambda *case: clean(*case, factors=shorter),
        "no boxes are an array of shape (0, 4): no row, and still four columns": flat_if_none,
        "the picture lies in the upper left of the square: its boxes are not moved": centered_square,
    },
)
