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
    const narrow = width < 480, lowest = -10;
    const weight = [alpha, 1 - alpha, -1][side];
    const at = (p, kind, gamma) => focal(logit(p), 1, kind, gamma);
    const ce = at(p, -1, 0), fl = at(p, weight, gamma);
    const ratio = { loss: ce.loss / fl.loss, gradient: ce.gradient / fl.gradient };

    const { svg, X, Y, backward, inside } = axes(width, 300, {
      x: [0, 1], y: [lowest, 1], id: "explorer-losses-inside", right: narrow ? 34 : 106,
      xTicks: [0, 0.25, 0.5, 0.75, 1].map((v) => [v, String(v)]), ends: ["hard", "easy"],
      xLabel: narrow ? "p of the true class" : "probability of the true class",
      yTicks: [-10, -8, -6, -4, -2, 0].map((v) => [v, v ? `10${raised(v)}` : "1"]), yLabel: "loss (nats)",
    });
    const height = (loss) => Y(Math.max(Math.log10(loss), lowest));
    svg.append(make("line", { class: "now", x1: X(p), x2: X(p), y1: Y(1), y2: Y(lowest) }));
    const grid = Array.from({ length: 199 }, (_, n) => (n + 1) / 200);
    const names = [];
    for (const [{ tone, name, brief }, kind, power] of [[LOSSES[0], -1, 0], [LOSSES[2], weight, gamma]]) {
      const points = grid.map((p) => [X(p), Y(Math.max(Math.log10(at(p, kind, power).loss), lowest - 2))]);
      inside.append(make("path", { class: `line ${tone}`, d: pathOf(points) }));
      names.push({ tone, text: narrow ? brief : name, y: points[points.length - 1][1] });
    }
    nameLines(svg, X(1) + 6, names, Y(1), Y(lowest));

    const top = height(ce.loss), low = height(fl.loss), gone = fl.loss < 10 ** lowest;
    svg.append(make("line", { class: "tick", x1: X(p), x2: X(p), y1: top, y2: low }));
    // The ratio stands below the lower dot, left of it; or between the curves, where the left has no room.
    const left = X(p) - X(0) > (narrow ? 60 : 130), after = height(at(Math.min(p + 0.25, 0.99), -1, 0).loss);
    const same = short(ratio.loss) === "1.000";
    const words = !isFinite(ratio.loss) ? "zero" : narrow ? `÷ ${short(ratio.loss)}` : `${short(ratio.loss)} times less`;
    const place = left ? { x: X(p) - 10, y: Math.min(low + 18, Y(lowest) - 8), "text-anchor": "end" }
      : { x: X(p) + 10, y: (after + low) / 2 + 5 };
    if (!same && (left || low - after > 20)) svg.append(make("text", { class: "name", ...place }, words));
    const held = { "data-drag": "p" };
    svg.append(dot("ce", X(p), top, held));
    const arrow = `M${X(p) - 7},${low - 8}h14l-7,12z`; // the loss lies below the axis
    svg.append(gone ? make("path", { class: "dot fl", d: arrow, ...held }) : dot("fl", X(p), low, held));

    const rows = ["loss", "gradient"].map((name) => ({
      name, cells: [ce[name], fl[name], ratio[name]].map((value) => [value, short(value)]),
    }));
    const size = (ratio, [less, more, equal]) =>
      ratio === Infinity ? "zero" : short(ratio) === "1.000" ? equal
        : `${short(Math.max(ratio, 1 / ratio))} times ${ratio > 1 ? less : more}`;
    const loss = size(ratio.loss, ["smaller than cross-entropy", "larger than cross-entropy", "equal to cross-entropy"]);
    const pull = size(ratio.gradient, ["weaker", "stronger", "the same"]);
    const says = `At a probability of ${p.toFixed(2)}, focal loss is ${loss}. Its pull on the logit, the gradient, is ${pull}.`;
    return { svg, rows, says, drag: { p: (x) => ({ p: backward(x) }) } };
  },
);
