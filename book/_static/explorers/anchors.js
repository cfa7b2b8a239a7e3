// One object that the reader moves, and the anchors of a scene: how much they overlap it, and which of them answer.
"use strict";

const STRIDES = [4, 8, 16], SIDE = 96; // pixels
const GRID = STRIDES.flatMap((stride, level) => {
  const places = Array.from({ length: SIDE / stride }, (_, n) => (n + 0.5) * stride);
  const sizes = [0, 1, 2].flatMap((third) =>
    [0.5, 1, 2].map((ratio) => [1 / Math.sqrt(ratio), Math.sqrt(ratio)].map((part) => (3 * stride * 2 ** (third / 3) * part) / 2)));
  const at = (x, y) => sizes.map(([w, h]) => ({ level, box: [x - w, y - h, x + w, y + h] }));
  return places.flatMap((y) => places.flatMap((x) => at(x, y)));
});

const area = ([x1, y1, x2, y2]) => Math.max(x2 - x1, 0) * Math.max(y2 - y1, 0);

function overlap(a, b) {
  const shared = area([Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.min(a[3], b[3])]);
  return shared / (area(a) + area(b) - shared);
}

const frame = (kind, [x1, y1, x2, y2], more = {}) =>
  make("rect", { class: kind, x: x1, y: y1, width: x2 - x1, height: y2 - y1, ...more });

const pixels = (v) => v.toFixed(1).replace(".0", "");

explorer(
  "anchors",
  [
    slider("x", ["Center, from the left"], 4, 92, 0.5, 48, Number, pixels),
    slider("y", ["Center, from the top"], 4, 92, 0.5, 48, Number, pixels),
    slider("w", ["Width"], 4, 64, 0.5, 17, Number, pixels),
    slider("h", ["Height"], 4, 64, 0.5, 13, Number, pixels),
  ],
  [["best IoU", ""], ["foreground", "answers"], ["ignored", "between"], ["background", ""]],
  ({ x, y, w, h }) => {
    const object = [x - w / 2, y - h / 2, x + w / 2, y + h / 2];
    const all = GRID.map(({ level, box }) => ({ level, box, iou: overlap(box, object) }));
    const top = Math.max(...all.map(({ iou }) => iou));
    for (const one of all) {
      one.claimed = one.iou >= top * (1 - 1e-6); // the best one, or all that tie, whatever the overlap
      one.kind = one.claimed || one.iou >= 0.5 ? "answers" : one.iou >= 0.4 ? "between" : "";
    }
    const svg = make("svg", { viewBox: `-1 -1 ${SIDE + 2} ${SIDE + 2}`, class: "square" });
    svg.append(frame("ground", [0, 0, SIDE, SIDE]));
    for (const kind of ["between", "answers"])
      svg.append(...all.filter((one) => one.kind === kind).map(({ box, claimed }) => frame(claimed ? "best" : kind, box)));
    svg.append(frame("object", object, { "data-drag": "middle" }));
    svg.append(make("circle", { class: "corner", cx: object[2], cy: object[3], r: 3, "data-drag": "corner" }));

    const rows = STRIDES.map((stride, level) => {
      const own = all.filter((one) => one.level === level);
      const best = Math.max(...own.map(({ iou }) => iou));
      const counts = ["answers", "between", ""].map((kind) => own.filter((one) => one.kind === kind).length);
      return { name: `stride ${stride}`, cells: [[best, best.toFixed(2)], ...counts.map((n) => [n, counted(n)])] };
    });
    const [answer, between, rest] = [1, 2, 3].map((n) => rows.reduce((sum, { cells }) => sum + cells[n][0], 0));
    const where = STRIDES[all.find(({ claimed }) => claimed).level];
    const best = `The best anchor has an IoU of ${top.toFixed(2)} and lies on the level of stride ${where}.`;
    const claim = top < 0.5 ? " No anchor reaches 0.5, so the object claims its best." : "";
    const answers = `${answer} anchor${answer > 1 ? "s answer" : " answers"} for the object`;
    const says = `${best}${claim} ${answers}, ${between} ${between === 1 ? "is" : "are"} ignored, and ${counted(rest)} are background.`;
    const drag = { middle: (x, y) => ({ x, y }), corner: (px, py) => ({ w: 2 * (px - x), h: 2 * (py - y) }) };
    return { svg, rows, says, drag };
  },
);
