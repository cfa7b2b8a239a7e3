// One example under cross-entropy and focal loss: gamma, alpha and p_t by slider.
"use strict";

explorer(
  "losses",
  [
    slider("gamma", ["Focusing ", make("i", {}, "γ")], 0, 5, 0.1, 2, Number, (v) => v.toFixed(1)),
    slider("alpha", ["Class weight ", make("i", {}, "α")], 0, 1, 0.05, 0.25, Number, (v) => v.toFixed(2)),
    slider("p", ["Probability ", pt()], 0.01, 0.99, 0.01, 0.95, Number, (v) => v.toFixed(2)),
    choice("side", "The example", [["foreground, α"], ["background, 1 − α"], ["unweighted"]]),
  ],
  [["cross-entropy", "ce"], ["focal loss", "fl"], ["CE / FL", ""]],
  ({ gamma, alpha, p, side }, width) => {
    const narrow = width < 480;
    const weight = [alpha, 1 - alpha, -1][side];
    const at = (p, kind, gamma) => focal(logit(p), 1, kind, gamma);
    const ce = at(p, -1, 0), fl = at(p, weight, gamma);

    const decades = [-10, -8, -6, -4, -2, 0];
    const { svg, X, Y, inside } = axes(width, 300, {
      x: [0, 1], y: [-10, 1], id: "explorer-losses-inside", right: narrow ? 34 : 106,
      xTicks: [0, 0.25, 0.5, 0.75, 1].map((v) => [v, String(v)]), xLabel: "probability of the true class",
      yTicks: decades.map((v) => [v, v ? `10${raised(v)}` : "1"]), yLabel: "loss (nats)",
    });
    const height = (loss) => Y(Math.max(Math.log10(loss), -10));
    const grid = Array.from({ length: 199 }, (_, n) => (n + 1) / 200);
    svg.append(make("line", { class: "now", x1: X(p), x2: X(p), y1: Y(1), y2: Y(-10) }));
    const names = [];
    for (const [{ tone, name, brief }, kind, power, loss] of [
      [LOSSES[0], -1, 0, ce.loss], [LOSSES[2], weight, gamma, fl.loss],
    ]) {
      const points = grid.map((p) => [X(p), Y(Math.max(Math.log10(at(p, kind, power).loss), -12))]);
      inside.append(make("path", { class: `line ${tone}`, d: pathOf(points) }));
      svg.append(make("circle", { class: `dot ${tone}`, cx: X(p), cy: height(loss), r: 6 }));
      names.push({ tone, text: narrow ? brief : name, y: points[points.length - 1][1] });
    }
    nameLines(svg, X(1) + 6, names, Y(1), Y(-10));

    const ratio = { loss: ce.loss / fl.loss, gradient: ce.gradient / fl.gradient };
    const rows = ["loss", "gradient"].map((name) => ({
      name, cells: [ce[name], fl[name], ratio[name]].map((value) => [value, short(value)]),
    }));
    const gap = height(fl.loss) - height(ce.loss);
    if (gap > 36) {
      svg.append(make("line", { class: "tick", x1: X(p), x2: X(p), y1: height(ce.loss) + 8, y2: height(fl.loss) - 8 }));
      const [x, anchor] = p > 0.5 ? [X(p) - 8, "end"] : [X(p) + 8, "start"];
      svg.append(make("text", { class: "name", x, y: height(ce.loss) + gap / 2 + 8, "text-anchor": anchor }, `÷ ${short(ratio.loss)}`));
    }
    const size = (ratio) =>
      ratio === Infinity ? "zero" : short(ratio) === "1.000" ? "the same"
        : ratio > 1 ? `${short(ratio)} times smaller` : `${short(1 / ratio)} times larger`;
    const says = `Beside cross-entropy, the focal loss is ${size(ratio.loss)} and its gradient ${size(ratio.gradient)}.`;
    return { svg, rows, says };
  },
);
