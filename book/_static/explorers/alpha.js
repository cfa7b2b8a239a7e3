// A class weight moves the whole curve of a class up or down: hard and easy examples keep their ratio.
"use strict";

explorer(
  "alpha",
  [
    slider("alpha", ["Class weight ", make("i", {}, "α")], 0.01, 0.99, 0.01, 0.75, Number, (v) => v.toFixed(2)),
    slider("hard", [pt(), " of a hard example"], 0.01, 0.5, 0.01, 0.05, Number, (v) => v.toFixed(2)),
    slider("easy", [pt(), " of an easy example"], 0.51, 0.99, 0.01, 0.95, Number, (v) => v.toFixed(2)),
  ],
  [["cross-entropy", "ce"], ["foreground", "bce"], ["background", "bce"]],
  ({ alpha, hard, easy }, width) => {
    const narrow = width < 480;
    const kinds = [
      { tone: "ce", text: narrow ? "CE" : "cross-entropy", of: (p) => focal(logit(p), 1, -1, 0).loss },
      { tone: "bce", text: narrow ? "α" : "foreground, α", of: (p) => focal(logit(p), 1, alpha, 0).loss },
      { tone: "bce dashed", text: narrow ? "1 − α" : "background, 1 − α", of: (p) => focal(-logit(p), 0, alpha, 0).loss },
    ];
    const { svg, X, Y, backward, inside } = axes(width, 300, {
      x: [0, 1], y: [-4, 1], id: "explorer-alpha-inside", right: narrow ? 44 : 140, ends: ["hard", "easy"],
      xTicks: [0, 0.25, 0.5, 0.75, 1].map((v) => [v, String(v)]), xLabel: narrow ? "p of the true class" : "probability of the true class",
      yTicks: [-4, -3, -2, -1, 0, 1].map((v) => [v, v > 0 ? "10" : v ? `10${raised(v)}` : "1"]), yLabel: "loss (nats)",
    });
    const grid = Array.from({ length: 197 }, (_, n) => (n + 2) / 200);
    const names = kinds.map(({ tone, text, of }) => {
      const points = grid.map((p) => [X(p), Y(Math.log10(of(p)))]);
      inside.append(make("path", { class: `line ${tone}`, d: pathOf(points) }));
      return { tone, text, y: points[points.length - 1][1] };
    });
    nameLines(svg, X(1) + 6, names, Y(1), Y(-4));
    for (const [key, p] of [["hard", hard], ["easy", easy]]) {
      svg.append(make("line", { class: "now", x1: X(p), x2: X(p), y1: Y(1), y2: Y(-4) }));
      for (const { tone, of } of kinds) svg.append(dot(tone, X(p), Y(Math.max(Math.log10(of(p)), -4)), { "data-drag": key }));
    }

    const values = [hard, easy].map((p) => kinds.map(({ of }) => of(p)));
    const ratios = kinds.map((_, n) => values[0][n] / values[1][n]);
    const rows = ["hard", "easy", "ratio"].map((name, n) => ({
      name, cells: [...values, ratios][n].map((value) => [value, short(value)]),
    }));
    const factor = (alpha / (1 - alpha)).toPrecision(2);
    const weight = alpha === 0.5 ? "Both classes count the same." : `An object counts ${factor} times as much as background that is equally well classified.`;
    const says = `${weight} A hard example counts ${short(ratios[0])} times an easy one of its class, whatever α is.`;
    return { svg, rows, says, drag: { hard: (x) => ({ hard: backward(x) }), easy: (x) => ({ easy: backward(x) }) } };
  },
);
