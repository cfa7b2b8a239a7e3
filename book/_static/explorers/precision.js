// Two images with five detections: a score threshold, what is right, precision and recall, and the AP that fills up.
"use strict";

const IMAGES = [
  {
    truth: [[10, 10, 30, 30], [50, 50, 80, 80]],
    found: [[11, 10, 31, 30, 0.95], [10, 16, 30, 34, 0.8], [60, 5, 75, 20, 0.7]],
  },
  { truth: [[20, 20, 40, 40], [60, 10, 80, 30]], found: [[21, 21, 41, 41, 0.9], [66, 10, 86, 30, 0.6]] },
];
const OBJECTS = 4;

function overlap(a, b) {
  const side = (n) => Math.max(Math.min(a[n + 2], b[n + 2]) - Math.max(a[n], b[n]), 0);
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  const shared = side(0) * side(1);
  return shared / (area(a) + area(b) - shared);
}

// From the best score down, each detection takes the free object that it overlaps most, if the IoU is large enough.
function judged(least) {
  const rows = IMAGES.flatMap(({ truth, found }, image) => {
    const free = new Set(truth);
    return found.map((box) => {
      const best = [...free].sort((one, other) => overlap(box, other) - overlap(box, one))[0];
      const hit = best !== undefined && overlap(box, best) >= least;
      if (hit) free.delete(best);
      return { image, box, score: box[4], hit };
    });
  });
  let right = 0;
  return rows.sort((one, other) => other.score - one.score).map((row, n) => {
    right += row.hit;
    return { ...row, precision: right / (n + 1), recall: right / OBJECTS };
  });
}

// The interpolated curve: at 101 recalls, the best precision at this one or a higher one.
const curve = (rows) => Array.from({ length: 101 }, (_, n) =>
  Math.max(0, ...rows.filter(({ recall }) => recall >= n / 100).map(({ precision }) => precision)));

const average = (heights) => heights.reduce((sum, one) => sum + one, 0) / 101;

const two = (v) => v.toFixed(2);

explorer(
  "precision",
  [
    slider("score", ["Score of at least"], 0.5, 1, 0.01, 0.5, Number, two),
    choice("iou", "Right from an IoU of", [["0.5"], ["0.75"]]),
  ],
  [["right", "closed"], ["false", "dotted"], ["precision", ""], ["recall", ""], ["AP", ""]],
  ({ score, iou }, width) => {
    const every = judged([0.5, 0.75][iou]), kept = every.filter((row) => row.score >= score);
    const scenes = make("div", { class: "scenes two" });
    IMAGES.forEach(({ truth }, number) => {
      const scene = make("svg", { viewBox: "0 0 96 96" });
      const draw = (kind, [x1, y1, x2, y2]) =>
        scene.append(make("rect", { class: kind, x: x1, y: y1, width: x2 - x1, height: y2 - y1 }));
      draw("dark", [0, 0, 96, 96]);
      for (const box of truth) draw("truth", box);
      for (const { box, hit } of kept.filter(({ image }) => image === number)) {
        draw(hit ? "hit" : "false", box);
        const low = box[4] === 0.8 || box[1] < 10; // the second box on one object, or no room above
        const place = { x: box[0], y: low ? box[3] + 9 : box[1] - 2.5 };
        scene.append(make("text", { class: hit ? "right" : "wrong", ...place }, two(box[4])));
      }
      scenes.append(scene);
    });

    const { svg, X, Y, inside } = axes(width, 260, {
      x: [0, 1], y: [0, 1], id: "explorer-precision-inside", xLabel: "recall", yLabel: "precision", right: 24,
      xTicks: [0, 0.25, 0.5, 0.75, 1].map((v) => [v, String(v)]), yTicks: [0, 0.25, 0.5, 0.75, 1].map((v) => [v, String(v)]),
    });
    const heights = curve(kept), all = curve(every), ap = average(heights), most = average(all);
    const steps = (heights) => heights.flatMap((height, n) => [[X(Math.max(n - 1, 0) / 100), Y(height)], [X(n / 100), Y(height)]]);
    inside.append(make("path", { class: "area third fl", d: pathOf([[X(0), Y(0)], ...steps(heights), [X(1), Y(0)]]) }));
    inside.append(make("path", { class: "ahead", d: pathOf(steps(all)) }));
    inside.append(make("path", { class: "line fl", d: pathOf(steps(heights)) }));
    const at = every.map((row) => ({ ...row, x: X(row.recall), y: Y(row.precision) }));
    svg.append(make("path", { class: "now", d: pathOf(at.map(({ x, y }) => [x, y])), fill: "none" }));
    at.forEach(({ x, y, score: own, hit }, n) => {
      const last = n === kept.length - 1;
      svg.append(make("circle", { class: own >= score ? "dot fl" : "dot gone", cx: x, cy: y, r: last ? 8 : 5, "data-drag": "list" }));
      svg.append(make("text", { x: x + 9, y: y - 8 }, String(n + 1)));
    });
    const nearest = (x, y) => at.reduce((one, other) => (Math.hypot(other.x - x, other.y - y) < Math.hypot(one.x - x, one.y - y) ? other : one));

    const right = kept.filter(({ hit }) => hit).length, parts = [right / kept.length, right / OBJECTS];
    const shown = parts.map((part) => [part, isNaN(part) ? "–" : `${Math.round(100 * part)}%`]);
    const cells = [right, kept.length - right].map((n) => [n, String(n)]);
    const rows = [{ name: "in the list", cells: [...cells, ...shown, [ap, ap.toFixed(3)]] }];
    const list = kept.length === 1 ? "one detection finds" : `${kept.length} detections find`;
    const first = `With a score of at least ${two(score)}, ${kept.length ? `${list} ${right} of ${OBJECTS} objects` : "no detection is left"}`;
    const rest = kept.length === every.length ? "" : ` With all ${every.length} it would be ${most.toFixed(3)}.`;
    const says = `${first}. AP at this IoU is ${ap.toFixed(3)}.${rest}`;
    return { svg: make("div", {}, scenes, svg), rows, says, drag: { list: (x, y) => ({ score: nearest(x, y).score }) } };
  },
);
