// One number p for every anchor of an image: what the total loss is, where it is lowest, and who owns it there.
"use strict";

const CROWDS = [1, 9, 49, 99, 449, 999, 9999]; // negatives to one positive

explorer(
  "guess",
  [
    slider("p", [make("i", {}, "p"), " of every anchor"], -200, -5, 1, -65, (k) => 10 ** (k / 50), (v) => v.toPrecision(2)),
    slider("n", ["Negatives to one positive"], 0, CROWDS.length - 1, 1, 4, (k) => CROWDS[k], counted),
  ],
  [["the positive", "first"], ["the negatives", "third"], ["share of the positive", ""]],
  ({ p, n }, width) => {
    const parts = (p) => [1, 0].map((y) => focal(logit(p), y, -1, 0)); // of one positive and of one negative
    const total = (p) => parts(p)[0].loss + n * parts(p)[1].loss;
    const best = 1 / (n + 1), least = total(best), most = 5 * Math.ceil((4 * least) / 5);
    const { svg, X, Y, backward, inside } = axes(width, 280, {
      x: [-4, -0.1], y: [0, most], id: "explorer-guess-inside", right: 24,
      xTicks: [-4, -3, -2, -1].map((v) => [v, String(10 ** v)]), xLabel: width < 480 ? "p" : "p, the same for every anchor",
      yTicks: [0, 0.2, 0.4, 0.6, 0.8, 1].map((part) => [part * most, String(part * most)]), yLabel: "loss of the image (nats)",
    });
    const grid = Array.from({ length: 196 }, (_, k) => 10 ** (-4 + k / 50));
    const draw = (kind, of) => inside.append(make("path", { class: kind, d: pathOf(grid.map((p) => [X(Math.log10(p)), Y(of(p))])) }));
    draw("line first", (p) => parts(p)[0].loss);
    draw("line second dashed", (p) => n * parts(p)[1].loss);
    draw("line strong", total);
    const now = X(Math.log10(p)), lowest = X(Math.log10(best));
    svg.append(make("line", { class: "now", x1: now, x2: now, y1: Y(0), y2: Y(most) }));
    svg.append(make("line", { class: "tick", x1: lowest, x2: lowest, y1: Y(least), y2: Y(0) }));
    svg.append(make("text", { class: "name", x: lowest, y: Y(least) - 12, "text-anchor": "middle" }, `lowest at 1/${counted(n + 1)}`));
    svg.append(make("text", { x: X(-0.15), y: Y(Math.log(10)) - 8, "text-anchor": "end" }, "the positive"));
    svg.append(make("text", { x: X(-3.95), y: Y(0) - 8 }, n > 1 ? "the negatives" : "the negative"));
    svg.append(dot("strong", now, Y(Math.min(total(p), most)), { "data-drag": "p" }));

    const rows = ["loss", "gradient"].map((name) => {
      const [positive, negatives] = [parts(p)[0][name], n * parts(p)[1][name]], share = positive / (positive + negatives);
      return { name, bar: [share, 1 - share], cells: [[positive, short(positive)], [negatives, short(negatives)], [share, percent(share)]] };
    });
    const [loss, gradient] = rows.map(({ cells }) => cells[2][1]);
    const where = `With p = ${p.toPrecision(2)} for every anchor the loss is ${short(total(p))}; the lowest, ${short(least)}, is at 1/${counted(n + 1)}.`;
    const says = `${where} The positive owns ${inWords(loss)} of the loss and ${inWords(gradient)} of the gradient.`;
    return { svg, rows, says, drag: { p: (x) => ({ p: 50 * backward(x) }) } };
  },
);
