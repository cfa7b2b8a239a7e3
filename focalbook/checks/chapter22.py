"""Checks of chapter 22: real images."""

import numpy as np

from focalbook.checks.check import Check

# ---- a quarter turn, by hand ----

quarter_turn = Check(
    reference=lambda: 100 - 30,
    mistakes={
        "that is the upper edge as it was: a turn moves it": lambda: 20,
        "that is where the left edge goes, and it becomes the lower one": lambda: 100 - 10,
        "that would be a turn to the right: there the left edge becomes the upper one": lambda: 10,
        "that is the box's height: the question is how far it lies from the upper edge of the picture": lambda: 25,
        "that is the right edge as it was: a distance from the right becomes one from above": lambda: 30,
        "that is the lower edge counted from below: in a quarter turn across and down change places": lambda: 100 - 45,
    },
)


# ---- Pascal VOC to COCO ----


def to_coco(corners, first=1, more=1):
    x1, y1, x2, y2 = corners
    return [x1 - first, y1 - first, x2 - x1 + more, y2 - y1 + more]


def centered(corners):
    x, y, width, height = to_coco(corners)
    return [x + width / 2, y + height / 2, width, height]


def height_first(corners):
    x, y, width, height = to_coco(corners)
    return [y, x, height, width]


voc_to_coco = Check(
    reference=to_coco,
    cases=(([1, 1, 10, 20],), ([48, 240, 195, 371],), ([8, 12, 8, 12],)),
    mistakes={
        "these are the corners still: COCO wants the width and the height in place of the second one": lambda box: [
            box[0] - 1,
            box[1] - 1,
            box[2],
            box[3],
        ],
        "these are VOC's four numbers as they were": list,
        "the first pixel has the number 1 in VOC and begins at 0 in COCO: subtract 1 from the first corner": (
            lambda box: to_coco(box, first=0)
        ),
        "the last pixel belongs to the box: from pixel 8 to pixel 8 it is 1 wide, not 0": lambda box: to_coco(
            box, more=0
        ),
        "both conventions are missing: count from 0, and count the last pixel": lambda box: to_coco(box, 0, 0),
        "1 too little on both sides: the width has the last pixel, so 1 comes on top": lambda box: to_coco(box, 1, -1),
        "that is YOLO's center: COCO wants the upper left corner": centered,
        "x comes before y, and the width before the height": height_first,
    },
)


# ---- boxes that follow a turn ----


def turn(boxes, size, way, edge=0, flip_first=True, left=True, sort=True):
    x1, y1, x2, y2 = np.asarray(boxes, dtype=float).reshape(-1, 4).T
    end = size - edge

    def flip(x1, y1, x2, y2):
        return (end - x2, y1, end - x1, y2) if sort else (end - x1, y1, end - x2, y2)

    sides = x1, y1, x2, y2
    if way >= 4 and flip_first:
        sides = flip(*sides)
    for _ in range(way % 4):
        x1, y1, x2, y2 = sides
        if left:
            sides = (y1, end - x2, y2, end - x1) if sort else (y1, end - x1, y2, end - x2)
        else:
            sides = end - y2, x1, end - y1, x2
    if way >= 4 and not flip_first:
        sides = flip(*sides)
    return np.stack(sides, axis=1)


BOXES = np.array([[1.0, 2.0, 5.0, 4.0], [0.0, 0.0, 12.0, 3.0], [6.5, 7.0, 7.0, 11.5]])

turned_boxes = Check(
    reference=turn,
    cases=(*((BOXES, 12, way) for way in range(8)), (np.zeros((0, 4)), 12, 5)),
    mistakes={
        "the boxes stay where they were while the picture turns": lambda boxes, size, way: turn(boxes, size, 0),
        "the corners change places: after a flip the old right edge is the new left one": lambda *case: turn(
            *case, sort=False
        ),
        "edges lie between pixels: the last one is at size, not at size - 1": lambda *case: turn(*case, edge=1),
        "ways 4 to 7 flip first and turn then": lambda *case: turn(*case, flip_first=False),
        "these turn to the right": lambda *case: turn(*case, left=False),
        "the flip is missing: 4 to 7 are not 0 to 3": lambda boxes, size, way: turn(boxes, size, way % 4),
        "the turns are missing: the remainder by 4 says how many": lambda boxes, size, way: turn(
            boxes, size, 4 * (way >= 4)
        ),
    },
)


# ---- a tile and its boxes ----


def tile(boxes, x, y, side, chosen="center", cut=True, move=True):
    boxes = np.asarray(boxes, dtype=float).reshape(-1, 4)
    corner = np.array([x, y, x, y] if move else [0, 0, 0, 0], dtype=float)
    low, high = boxes[:, :2] - (x, y), boxes[:, 2:] - (x, y)
    middle = (low + high) / 2
    within = {
        "center": (middle >= 0) & (middle < side),
        "whole": (low >= 0) & (high <= side),
        "touching": (high > 0) & (low < side),
        "corner": (low >= 0) & (low < side),
        "closed": (middle >= 0) & (middle <= side),
    }[chosen].all(axis=1)
    found = boxes[within] - corner
    first = 0 if move else np.array([x, y, x, y])
    return np.clip(found, first, first + np.full(4, side)) if cut else found


CROWNS = np.array(
    [
        [10, 10, 50, 40],
        [90, 20, 130, 60],
        [96, 70, 104, 90],
        [120, 110, 180, 150],
        [60, 90, 100, 140],
        [-20, 30, 30, 50],
        [85, 95, 109, 103],
    ]
)

boxes_of_a_tile = Check(
    reference=tile,
    cases=((CROWNS, 0, 0, 100), (CROWNS, 100, 0, 100), (CROWNS, 0, 100, 100), (CROWNS, 300, 300, 100)),
    mistakes={
        "a crown that only touches the tile has its center in another, and would count in both": lambda *case: tile(
            *case, chosen="touching"
        ),
        "a crown that is cut is lost to all tiles: ask for its center alone": lambda *case: tile(*case, chosen="whole"),
        "ask for the center of a box, not for its upper left corner": lambda *case: tile(*case, chosen="corner"),
        "a center on the border between two tiles belongs to one of them: to that which begins there": (
            lambda *case: tile(*case, chosen="closed")
        ),
        "what reaches beyond the tile is cut at its edge": lambda *case: tile(*case, cut=False),
        "a tile has pixels of its own: subtract its corner": lambda *case: tile(*case, move=False),
        "cut, and in pixels of the tile: both are missing": lambda *case: tile(*case, cut=False, move=False),
    },
)
