// Many easy negatives against one hard positive: who owns the total, under each loss.
"use strict";

explorer(
  "crowd",
  [
    slider("n", ["Negatives"], 0, 100, 1, 60, (k) => Math.round(10 ** (k / 20)), counted),
    slider("easy", [make("i", {}, "p"), " of a negative"], 0.01, 0.49, 0.01, 0.05, Number, (v) => v.toFixed(2)),
    slider("hard", [make("i", {}, "p"), " of the positive"], 0.01, 0.49, 0.01, 0.05, Number, (v) => v.toFixed(2)),
  ],
  [["one positive", "first"], ["the crowd", "third"], ["outweighed by", ""]],
  ({ n, easy, hard }, width) => {
    const narrow = width < 480, the = narrow ? "" : "the ";
    const { svg, X, Y, backward, inside } = axes(width, 300, {
      x: [0, 5], y: [-4, 4], id: "explorer-crowd-inside", right: narrow ? 74 : 180,
      xTicks: [0, 1, 2, 3, 4, 5].map((v) => [v, v > 1 ? `10${raised(v)}` : String(10 ** v)]),
      xLabel: "number of easy negatives", yLabel: "loss of the crowd / loss of the positive",
      yTicks: [-4, -2, 0, 2, 4].map((v) => [v, v ? `10${raised(v)}` : "1"]),
    });
    const now = X(Math.log10(n));
    svg.append(make("line", { class: "level", x1: X(0), x2: X(5), y1: Y(0), y2: Y(0) }));
    svg.append(make("line", { class: "now", x1: now, x2: now, y1: Y(-4), y2: Y(4) }));
    const names = [], dots = [];
    const rows = LOSSES.map(({ name, brief, tone, alpha, gamma }) => {
      const positive = focal(logit(hard), 1, alpha, gamma).loss, negative = focal(logit(easy), 0, alpha, gamma).loss;
      const needed = positive / negative, share = n / (n + needed), crossing = Math.log10(needed);
      const at = (decades) => Y(decades - crossing);
      inside.append(make("path", { class: `line ${tone}`, d: pathOf([[X(0), at(0)], [X(5), at(5)]]) }));
      const enough = counted(Math.ceil(needed)); // written where the line crosses, on the side that the others leave free
      const [side, drop] = tone === "ce" ? [-1, -7] : [1, 16];
      const place = { x: X(crossing) + 6 * side, y: Y(0) + drop, "text-anchor": side < 0 ? "end" : "start" };
      if (crossing > 0 && crossing < 4.6) dots.push(make("text", { class: `name ${tone}`, ...place }, enough));
      const height = at(Math.log10(n));
      if (height <= Y(-4)) dots.push(dot(tone, now, height, { "data-drag": "n" }));
      names.push({ tone, text: narrow ? brief : name, y: at(5) });
      const cells = [[1 - share, percent(1 - share)], [share, percent(share)], [needed, enough]];
      return { name, tone, cells, bar: [1 - share, share] };
    });
    svg.append(make("text", { x: X(0) + 8, y: Y(3.2) }, `${the}crowd owns more`));
    svg.append(make("text", { x: X(5) - 8, y: Y(-3.5), "text-anchor": "end" }, `${the}positive owns more`));
    svg.append(...dots);
    nameLines(svg, X(5) + 8, names, Y(4), Y(-4));

    const owns = rows.map((row) => `${inWords(row.cells[1][1])} under ${row.name}`);
    const positive = rows.filter((row) => row.cells[0][0] > 0.5).map((row) => row.name);
    const crowd = `Of the total, ${counted(n)} easy negative${n > 1 ? "s own" : " owns"} ${listed(owns)}.`;
    const drag = { n: (x) => ({ n: 20 * backward(x) }) };
    return { svg, rows, says: `${crowd} The one positive owns more under ${under(positive)}.`, drag };
  },
);
