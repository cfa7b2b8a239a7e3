// An image, its objects, and the anchors that lie over it: how many there are, and how few of them are foreground.
"use strict";

const AREA = 512; // of a picture, in its own units

// Objects lie where a sequence puts them that leaves no room empty for long.
const placed = (n) => [0.7549, 0.5698].map((step) => (0.42 + n * step) % 1);

explorer(
  "tiles",
  [
    slider("side", ["Side of the image, in pixels"], 64, 512, 16, 96),
    slider("objects", ["Objects"], 1, 20, 1, 1),
  ],
  [["anchors", ""], ["foreground", "answers"], ["background to one", ""]],
  ({ side, objects }) => {
    const levels = COUNTED.strides.map((stride, level) => {
      const anchors = 9 * Math.ceil(side / stride) ** 2;
      const foreground = objects * COUNTED.foreground[level], background = anchors - foreground - objects * COUNTED.ignored[level];
      return { name: `stride ${stride}`, anchors, foreground, background };
    });
    const sum = (key) => levels.reduce((total, level) => total + level[key], 0);
    const all = { name: "all", anchors: sum("anchors"), foreground: sum("foreground"), background: sum("background") };
    const rows = [...levels, all].map(({ name, anchors, foreground, background }) => {
      const ratio = background / foreground;
      const texts = [counted(anchors), foreground ? foreground.toFixed(1) : "0", isFinite(ratio) ? counted(Math.round(ratio)) : "–"];
      return { name, cells: [anchors, foreground, ratio].map((value, n) => [value, texts[n]]) };
    });

    const image = make("svg", { viewBox: `0 0 ${AREA} ${AREA}` }), tiles = make("svg", { viewBox: `0 0 ${AREA} ${AREA}` });
    const square = (kind, x, y, size) => make("rect", { class: kind, x, y, width: size, height: size });
    const start = (AREA - side) / 2, size = AREA / Math.sqrt(all.anchors), lit = Math.sqrt(all.foreground / objects);
    image.append(square("ground", start, start, side));
    tiles.append(make("pattern", { id: "explorer-tiles-one", width: size, height: size, patternUnits: "userSpaceOnUse" }, square("tile", size / 10, size / 10, 0.8 * size)));
    tiles.append(make("rect", { width: AREA, height: AREA, fill: "url(#explorer-tiles-one)" }));
    for (let n = 0; n < objects; n++) {
      const [x, y] = placed(n);
      image.append(square("thing", start + x * (side - 15), start + y * (side - 15), 15));
      tiles.append(square("lit", x * (AREA - lit * size), y * (AREA - lit * size), lit * size));
    }
    const panel = (svg, text) => make("div", {}, make("p", {}, text), svg);
    const things = `${objects} object${objects > 1 ? "s" : ""}`;
    const plot = make("div", { class: "panels" }, panel(image, `${things} in ${side} × ${side} pixels`), panel(tiles, `one tile for each of ${counted(all.anchors)} anchors`));
    const says = `An image of ${side} × ${side} pixels has ${counted(all.anchors)} anchors. About ${counted(Math.round(all.foreground))} are foreground, and ${counted(Math.round(all.background / all.foreground))} times as many are background.`;
    return { svg: plot, rows, says };
  },
);
