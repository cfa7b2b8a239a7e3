// Two crowds of logits, and where along them each loss's gradient comes from.
"use strict";

// Each crowd is a normal distribution out to six standard deviations, as 1201 weighted logits.
const STEPS = Array.from({ length: 1201 }, (_, n) => (n - 600) / 100);
const BELL = STEPS.map((z) => Math.exp(-z * z / 2));
const SUM = BELL.reduce((a, b) => a + b);

explorer(
  "optimizer",
  [
    slider("background", ["Background logits, mean"], -8, 4, 0.1, -5, Number, signed),
    slider("foreground", ["Foreground logits, mean"], -8, 8, 0.1, -1, Number, signed),
    slider("spread", ["Spread of both"], 0.2, 3, 0.1, 1.5, Number, (v) => v.toFixed(1)),
    slider("n", ["Negatives to a positive"], 0, 100, 1, 75, (k) => Math.round(10 ** (k / 25)), counted),
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

    const top = 152, band = 72, step = 98; // a band for each loss, below its name
    const xTicks = [-12, -8, -4, 0, 4, 8, 12].map((v) => [v, String(v).replace("-", "−")]);
    const { svg, X, backward, inside } = axes(width, top + 3 * step + 26, {
      x: [-12, 12], y: [0, 1], xTicks, yTicks: [], top: top - 16, id: "explorer-optimizer-inside",
      xLabel: "logit", yLabel: "how the logits lie",
    });
    const z = STEPS.filter((_, k) => k % 8 === 0 && Math.abs(STEPS[k]) <= 4);
    for (const [mean, y] of sides) {
      const bell = z.map((z) => [X(Math.min(Math.max(mean + spread * z, -12), 12)), 94 - 54 * Math.exp(-z * z / 2)]);
      svg.append(make("path", { class: y ? "bell solid" : "bell", d: pathOf(bell), "data-drag": y ? "foreground" : "background" }));
    }
    // Their names, outward from the middles, inside the picture and apart from each other.
    const names = [[background, `${counted(n)} × background`], [foreground, "foreground"]];
    const [[a, first], [b, second]] = foreground < background ? names.reverse() : names;
    const end = Math.max(X(a) - 4, 7.8 * first.length);
    const begin = Math.max(Math.min(X(b) + 4, width - 7.8 * second.length), end + 6);
    const shift = Math.min(width - 7.8 * second.length - begin, 0);
    svg.append(make("text", { x: end + shift, y: 34, "text-anchor": "end" }, first));
    svg.append(make("text", { x: begin + shift, y: 34 }, second));
    svg.append(make("text", { x: 0, y: 122 }, "where the gradient comes from"));

    // One scale for all bands, with room for a word on both sides of their lines of zero.
    const peaks = found.flatMap(({ lines }) => lines.flat().map(([, y]) => y));
    const room = 0.3 * (Math.max(...peaks) - Math.min(...peaks));
    const high = Math.max(room, ...peaks), low = Math.min(-room, ...peaks);
    found.forEach(({ name, tone, shares, lines: [above, below] }, place) => {
      const start = top + place * step;
      const Y = (value) => start + ((high - value) / (high - low)) * band;
      const draw = (kind, points) =>
        inside.append(make("path", { class: `${kind} ${tone}`, d: pathOf(points.map(([x, y]) => [X(x), Y(y)])) }));
      const k = below.findIndex(([x]) => x >= 0), [left, right] = [below[k - 1], below[k]];
      const cut = k > 0 ? [[0, left[1] - (left[0] * (right[1] - left[1])) / (right[0] - left[0])]] : [];
      const easy = k < 0 ? below : [...below.slice(0, k), ...cut], hard = k < 0 ? [] : [...cut, ...below.slice(k)];
      for (const [kind, points] of [["first", above], ["second", hard], ["third", easy]])
        if (points.length) draw(`area ${kind}`, [[points[0][0], 0], ...points, [points[points.length - 1][0], 0]]);
      for (const line of [above, below]) draw("line", line);
      svg.append(make("line", { class: "grid", x1: X(-12), x2: X(12), y1: Y(0), y2: Y(0) }));
      const say = (y, text) => svg.append(make("text", { x: X(12), y, "text-anchor": "end" }, text));
      svg.append(make("text", { class: `name ${tone}`, x: 0, y: start - 2 }, name));
      say(Y(0) - 7, `positives ${percent(shares[0])}`);
      say(Y(0) + 17, `negatives ${percent(1 - shares[0])}`);
    });
    for (const [y1, y2] of [[40, 104], [128, top + 3 * step - 18]]) // the heading stands between
      svg.append(make("line", { class: "now", x1: X(0), x2: X(0), y1, y2 }));

    const rows = found.map(({ name, tone, shares }) => ({
      name, tone, cells: shares.map((share) => [share, percent(share)]), bar: shares,
    }));
    const owns = rows.map((row) => `${inWords(row.cells[0][1])} under ${row.name}`);
    const more = rows.filter((row) => row.cells[0][0] > 0.5).map((row) => row.name);
    const positives = `Of the gradient, the positives own ${listed(owns)}.`;
    const to = (key) => (x) => ({ [key]: backward(x) });
    const drag = { foreground: to("foreground"), background: to("background") };
    return { svg, rows, drag, says: `${positives} They pull harder than the negatives under ${under(more)}.` };
  },
);
