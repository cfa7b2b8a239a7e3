// Recorded detections of two detectors on the same scenes, above a score that the reader sets.
"use strict";

const PIXELS = new URL("detector.png", document.currentScript.src).href;
const SIZE = 96;

function drawScene(number, boxes) {
  const svg = make("svg", { viewBox: `0 0 ${SIZE} ${SIZE}` });
  svg.append(make("image", { href: PIXELS, x: -number * SIZE, width: DETECTIONS.truth.length * SIZE, height: SIZE }));
  const draw = ([x1, y1, x2, y2], kind, room) =>
    svg.append(make("rect", { class: kind, x: x1 - room, y: y1 - room, width: x2 - x1 + 2 * room, height: y2 - y1 + 2 * room }));
  for (const box of DETECTIONS.truth[number]) draw(box, "truth", 0);
  boxes.forEach((box, place) => {
    const [x1, y1, x2, y2, score, label, hit] = box;
    draw(box, hit ? "hit" : "false", 1 + 2 * place); // around the pixels, one around the other, where both lie on one object
    const high = y1 < 10, low = y2 > SIZE - 10; // no room above, or below: else by turns
    const above = low || (!high && place % 2 === 0);
    const line = high || low ? place : Math.floor(place / 2);
    const [x, anchor] = x1 + x2 > SIZE ? [Math.min(x2 + 2, SIZE - 1), "end"] : [Math.max(x1 - 2, 1), "start"];
    const y = above ? y1 - 2 - 2 * place - 7 * line : y2 + 7 + 2 * place + 7 * line;
    svg.append(make("text", { class: hit ? "right" : "wrong", x, y, "text-anchor": anchor }, `${DETECTIONS.classes[label]} ${score.toFixed(2)}`));
  });
  return svg;
}

const COLUMNS = [["found", "closed"], ["false", "dotted"], ["precision", ""], ["recall", ""]];

explorer(
  "detector",
  [
    slider("score", ["Score of at least"], 0.3, 1, 0.01, 0.5, Number, (v) => v.toFixed(2)),
    slider("run", ["Run"], 1, DETECTIONS.found["focal loss"].length, 1, 1),
  ],
  COLUMNS,
  ({ score, run }) => {
    const pictures = make("div", { class: "scenes" });
    const objects = DETECTIONS.truth.flat().length;
    const rows = LOSSES.filter(({ name }) => name in DETECTIONS.found).map(({ name, tone }) => {
      const shown = DETECTIONS.found[name][run - 1].map((scene) => scene.filter((box) => box[4] >= score));
      pictures.append(make("p", { class: tone }, name), ...shown.map((boxes, number) => drawScene(number, boxes)));
      const all = shown.flat().length, hits = shown.flat().filter((box) => box[6]).length;
      const counts = [hits, all - hits].map((count) => [count, String(count)]);
      const parts = [hits / all, hits / objects].map((part) => [part, isNaN(part) ? "–" : `${Math.round(100 * part)}%`]);
      return { name, tone, cells: [...counts, ...parts] };
    });
    const told = rows.map(({ name, cells }) => `${name} finds ${cells[0][1]} and draws ${cells[1][1]} false box${cells[1][0] === 1 ? "" : "es"}`);
    return { svg: pictures, rows, says: `Run ${run}: of ${objects} objects, ${told.join("; ")}.` };
  },
);
