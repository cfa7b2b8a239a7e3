// What the explorers share: the form with its controls and its table, the axes of a plot, and points to drag.
"use strict";

// Numbers as text.

const signed = (value) => value.toFixed(1).replace("-", "−");

const raised = (n) => String(n).replace(/./g, (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]);

function short(value) {
  if (value === 0 || !isFinite(value)) return value ? "∞" : "0";
  if (value >= 1e6 || value < 1e-3) {
    const [digits, exponent] = value.toExponential(2).split("e");
    return `${digits} ×\u00a010${raised(Number(exponent))}`;
  }
  return value >= 1000 ? counted(Math.round(value)) : value.toPrecision(4);
}

const counted = (n) => (n < 10000 ? String(n) : n.toLocaleString("en-US"));

const listed = (words) => [words.slice(0, -1).join(", "), ...words.slice(-1)].filter(Boolean).join(" and ");

const under = (names) => (names.length % 3 ? listed(names) : names.length ? "all three" : "none of the three");

const unbroken = (name) => name.split(/(\S+-\S+)/).map((part) => (part.includes("-") ? make("span", { class: "whole" }, part) : part));

const percent = (share) =>
  share > 0.999 ? ">\u00a099.9%" : share < 0.001 ? "<\u00a00.1%" : `${(100 * share).toFixed(1)}%`;

const inWords = (text) => text.replace(">", "over").replace("<", "under");

// Elements.

const DRAWN = new Set(["svg", "g", "pattern", "path", "line", "rect", "circle", "text", "image", "clipPath"]);

function make(tag, attributes = {}, ...children) {
  const node = DRAWN.has(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const pt = () => make("i", {}, "p", make("sub", {}, "t"));

const pathOf = (points) => "M" + points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join("L");

const dot = (tone, cx, cy, more = {}) => make("circle", { class: `dot ${tone}`, cx, cy, r: 6, ...more });

// Axes from low to high values (logarithms, for a logarithmic axis); ticks are pairs of a value and its text.
// Returns the picture, its scales X and Y, that of X backward, and its inside, which clips what is drawn into it.
function axes(width, height, { x, y, xTicks, yTicks, xLabel, yLabel, ends = [], id, right = 16, top = 26, bottom = 44 }) {
  const left = 46;
  const X = (value) => left + ((value - x[0]) / (x[1] - x[0])) * (width - left - right);
  const Y = (value) => height - bottom - ((value - y[0]) / (y[1] - y[0])) * (height - bottom - top);
  const svg = make("svg", { width, height, viewBox: `0 0 ${width} ${height}` });
  const box = { x: left, y: top, width: Math.max(width - left - right, 0), height: height - bottom - top };
  for (const [value, text] of yTicks) {
    svg.append(make("line", { class: "grid", x1: left, x2: width - right, y1: Y(value), y2: Y(value) }));
    svg.append(make("text", { x: left - 8, y: Y(value) + 4, "text-anchor": "end" }, text));
  }
  for (const [value, text] of xTicks) {
    svg.append(make("line", { class: "tick", x1: X(value), x2: X(value), y1: height - bottom, y2: height - bottom + 5 }));
    svg.append(make("text", { x: X(value), y: height - bottom + 20, "text-anchor": "middle" }, text));
  }
  svg.append(make("line", { class: "tick", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
  svg.append(make("text", { x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" }, xLabel));
  ends.forEach((text, n) => {
    const place = n ? { x: width - right, "text-anchor": "end" } : { x: left };
    svg.append(make("text", { ...place, y: height - 4 }, text));
  });
  svg.append(make("text", { x: 0, y: 14 }, yLabel));
  svg.append(make("clipPath", { id }, make("rect", box)));
  const inside = make("g", { "clip-path": `url(#${id})` });
  svg.append(inside);
  const backward = (place) => x[0] + ((place - left) / (width - left - right)) * (x[1] - x[0]);
  return { svg, X, Y, backward, inside };
}

// Names of lines, { tone, text, y }, at their ends or where those would be but for the bounds, a line of text apart.
function nameLines(svg, x, lines, highest, lowest) {
  let last = -Infinity;
  for (const { tone, text, y } of [...lines].sort((one, other) => one.y - other.y)) {
    last = Math.max(Math.min(Math.max(y, highest), lowest) + 4, last + 16);
    svg.append(make("text", { class: `name ${tone}`, x, y: last }, text));
  }
}

// Controls: an object for each, with the key that its value has in what update() gets.

const slider = (key, label, min, max, step, start, of = Number, text = String) => (id) => {
  const input = make("input", { type: "range", id: `${id}-${key}`, min, max, step, value: start });
  const shown = make("output", { for: input.id, "aria-live": "off" });
  const read = () => {
    const value = of(input.valueAsNumber);
    shown.textContent = text(value);
    input.setAttribute("aria-valuetext", text(value));
    return { [key]: value };
  };
  return { read, node: make("div", { class: "slider" }, make("label", { for: input.id }, ...label), shown, input) };
};

const choice = (key, legend, options) => (id) => {
  const inputs = options.map((_, n) => make("input", { type: "radio", name: `${id}-${key}`, value: n }));
  inputs[0].defaultChecked = true;
  const labels = inputs.map((input, n) => make("label", {}, input, make("span", {}, ...options[n])));
  const read = () => ({ [key]: inputs.findIndex((input) => input.checked) });
  return { read, node: make("fieldset", {}, make("legend", {}, legend), ...labels) };
};

// A table of read-outs, each with its full value in data-value. Rows: { name, tone, cells: [[value, text]], bar: shares }.
function fill(table, columns, rows) {
  if (!table.rows.length) {
    const head = columns.map(([name, tone]) => make("th", { scope: "col", class: tone }, ...unbroken(name)));
    table.append(make("thead", {}, make("tr", {}, make("td"), ...head)));
    for (const { name, tone = "", cells, bar } of rows) {
      const data = cells.map((_, n) => make("td", { "data-read": `${name}: ${columns[n][0]}` }));
      const body = make("tbody", { class: tone }, make("tr", {}, make("th", { scope: "row" }, ...unbroken(name)), ...data));
      const parts = bar && make("td", { colspan: columns.length + 1 }, make("div", {}, ...bar.map(() => make("span"))));
      if (bar) body.append(make("tr", { class: "bar", "aria-hidden": "true" }, parts));
      table.append(body);
    }
  }
  rows.forEach(({ cells, bar = [] }, n) => {
    const body = table.tBodies[n];
    body.querySelectorAll("[data-read]").forEach((cell, m) => {
      [cell.dataset.value, cell.textContent] = cells[m];
    });
    body.querySelectorAll(".bar span").forEach((part, m) => (part.style.width = `${100 * bar[m]}%`));
  });
}

// Put the controls in the picture's place, and the picture back if that fails. update(values, width) returns what is
// drawn, the table's rows and a sentence: { svg, rows, says }, and drag: what the sliders are set to where something named
// in its data-drag is dragged to a place in its picture.
function explorer(name, controls, columns, update) {
  const figure = document.querySelector(`figure.explorer-${name}`);
  if (!figure) return;
  const picture = figure.querySelector("img");
  const made = controls.map((control) => control(`explorer-${name}`));
  const plot = make("div", { class: "plot" }), table = make("table");
  const says = make("output", { class: "says", "aria-live": "polite" });
  const parts = made.map((control) => control.node);
  const columnsOf = parts.filter((part) => part.className === "slider").length % 3 ? 2 : 3;
  const reset = make("button", { type: "reset" }, "Back to the start");
  const form = make("form", {}, plot, make("div", { class: `controls by-${columnsOf}` }, ...parts), table, says, reset);
  let moves = {}, held;
  const draw = () => {
    const values = Object.assign({}, ...made.map((control) => control.read()));
    const now = update(values, plot.clientWidth);
    now.svg.setAttribute("role", "img");
    now.svg.setAttribute("aria-label", picture.alt);
    plot.replaceChildren(now.svg);
    moves = now.drag;
    fill(table, columns, now.rows);
    if (says.textContent !== now.says) says.textContent = now.says;
  };
  const refresh = () => {
    if (!form.isConnected) return;
    try {
      draw();
      figure.classList.add("live");
    } catch (error) {
      figure.classList.remove("live");
      form.remove();
      throw error;
    }
  };
  plot.addEventListener("pointerdown", (event) => {
    held = event.target.closest("[data-drag]")?.dataset.drag;
    if (held) plot.setPointerCapture(event.pointerId);
  });
  plot.addEventListener("pointermove", ({ clientX, clientY }) => {
    const one = held && plot.querySelector(`[data-drag="${held}"]`);
    if (!one) return;
    const { x, y } = new DOMPoint(clientX, clientY).matrixTransform(one.ownerSVGElement.getScreenCTM().inverse());
    for (const [key, value] of Object.entries(moves[held](x, y))) form.elements[`explorer-${name}-${key}`].value = value;
    refresh();
  });
  for (const end of ["pointerup", "pointercancel"]) plot.addEventListener(end, () => (held = null));
  form.addEventListener("input", refresh);
  form.addEventListener("reset", () => setTimeout(refresh));
  form.addEventListener("submit", (event) => event.preventDefault());
  figure.insertBefore(form, figure.querySelector("figcaption"));
  refresh();
  new ResizeObserver(refresh).observe(plot);
  addEventListener("beforeprint", () => {
    picture.loading = "eager"; // it waits until it is seen, and now it will be
    picture.decode().catch(() => {});
  });
}
