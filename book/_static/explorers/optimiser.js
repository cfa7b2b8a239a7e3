// Two crowds of logits, and where along them each loss's gradient comes from.
"use strict";

// Each crowd is a normal distribution out to six standard deviations, as 1201 weighted logits.
const STEPS = Array.from({ length: 1201 }, (_, n) => (n - 600) / 100);
const BELL = STEPS.map((z) => Math.exp(-z * z / 2));
const SUM = BELL.reduce((a, b) => a + b);

explorer(
  "optimiser",
  [
    slider("background", ["Background logits, mean"], -8, 4, 0.1, -5, Number, signed),
    slider("foreground", ["Foreground logits, mean"], -8, 8, 0.1, -1, Number, signed),
    slider("spread", ["Spread of both"], 0.2, 3, 0.1, 1.5, Number, (v) => v.toFixed(1)),
    slider("n", ["Negatives to a positive"], 0, 100, 1, 75, (k) => Math.round(10 ** (k / 25))),
  ],
  [["positives", "first"], ["hard negatives", "second"], ["easy negatives", "third"]],
  ({ background, foreground, spread, n }, width) => {
    const sides = [[foreground, 1, 1], [background, 0, n]];
    const found = LOSSES.map((loss) => {
      const sums = [0, 0, 0];
      const curves = sides.map(([mean, y, count]) =>
        STEPS.map((z, k) => {
          const x = mean + spread * z;
          const mass = count * (BELL[k] / SUM) * focal(x, y, loss.alpha, loss.gamma).gradient;
          sums[y ? 0 : x < 0 ? 2 : 1] += mass;
          return [x, mass];
        }));
      const total = sums[0] + sums[1] + sums[2];
      // Share of the gradient for each unit of the logit: the positives' above zero, the negatives' below.
      const lines = curves.map((curve, side) =>
        curve.filter((_, k) => k % 8 === 0).map(([x, mass]) => [x, ((side ? -100 : 100) * mass) / total / spread]));
      return { ...loss, shares: sums.map((sum) => sum / total), lines };
    });

    const narrow = width < 480;
    const peaks = found.flatMap(({ lines }) => lines.flat().map(([, y]) => y));
    const high = Math.max(...peaks), low = Math.min(...peaks), room = 0.2 * (high - low);
    const xTicks = [-12, -8, -4, 0, 4, 8, 12].map((v) => [v, String(v).replace("-", "−")]);
    const { svg, X, Y, inside } = axes(width, 380, {
      x: [-12, 12], y: [low - room, high + room], xTicks, yTicks: [[0, "0"]], top: 132, id: "explorer-optimiser-inside",
      xLabel: "logit", yLabel: "how the logits lie",
    });
    const z = STEPS.filter((_, k) => k % 8 === 0 && Math.abs(STEPS[k]) <= 4);
    for (const [mean, y] of sides) {
      const bell = z.map((z) => [X(Math.min(Math.max(mean + spread * z, -12), 12)), 94 - 54 * Math.exp(-z * z / 2)]);
      const left = y ? foreground < background : foreground >= background;
      const place = { x: Math.min(X(mean) + (left ? -4 : 4), width - 84), y: 34, "text-anchor": left ? "end" : "start" };
      svg.append(make("path", { class: y ? "bell solid" : "bell", d: pathOf(bell) }));
      svg.append(make("text", place, y ? "foreground" : "background"));
    }
    svg.append(make("line", { class: "now", x1: X(0), x2: X(0), y1: 40, y2: Y(low - room) }));
    svg.append(make("text", { x: 0, y: 122 }, "where the gradient comes from"));
    svg.append(make("text", { x: X(12), y: Y(0) - 10, "text-anchor": "end" }, narrow ? "positives" : "pull of the positives"));
    svg.append(make("text", { x: X(12), y: Y(0) + 20, "text-anchor": "end" }, narrow ? "negatives" : "pull of the negatives"));
    for (const { tone, lines } of found)
      for (const line of lines)
        inside.append(make("path", { class: `line area ${tone}`, d: pathOf(line.map(([x, y]) => [X(x), Y(y)])) }));

    const free = high > -low ? Y(high + room) + 12 : Y(low - room) - 44; // the larger side has room for the names
    const names = found.map(({ tone, name, brief }) => ({ tone, text: narrow ? brief : name, y: free }));
    nameLines(svg, X(5), names, free, free);

    const rows = found.map(({ name, tone, shares }) => ({
      name, tone, cells: shares.map((share) => [share, percent(share)]), bar: shares,
    }));
    const owns = rows.map((row) => `${inWords(row.cells[0][1])} under ${row.name}`);
    const says = `Of the gradient, the positives own ${owns[0]}, ${owns[1]} and ${owns[2]}.`;
    return { svg, rows, says };
  },
);
