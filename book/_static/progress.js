// What this device remembers of a reader: which pages have been read to their end, and what was answered. It is kept in
// the browser alone, the contents show it, and one button forgets it.
"use strict";

(() => {
  const KEY = "focal-loss-book", { pathname } = location;
  const root = new URL(document.documentElement.dataset.content_root || "./", location).pathname;
  const nameOf = (path) => path.replace(root, "").replace(/\.html$/, "");
  const here = nameOf(pathname);

  // { read: { page: 1 }, answers: { "page 1": "B" } }; nothing is remembered where the browser stores nothing.
  const memory = { read: {}, answers: {} };
  try {
    Object.assign(memory, JSON.parse(localStorage.getItem(KEY)));
  } catch {}
  function remember(what, name, value) {
    memory[what][name] = value;
    try {
      localStorage.setItem(KEY, JSON.stringify(memory));
    } catch {}
    show();
  }

  function make(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }

  // Questions: a list of choices, each with its letter first, before an answer that starts with the right one.
  const questions = [...document.querySelectorAll("article ul.choices + details")].map((answer, number) => {
    const list = answer.previousElementSibling, name = `${here} ${number + 1}`;
    const right = answer.querySelector("strong").textContent[0];
    const said = make("p", { role: "status", class: "verdict" });
    answer.querySelector("summary").after(said);
    const buttons = [...list.children].map((item) => {
      const button = make("button", { type: "button" }, ...(item.querySelector("p") || item).childNodes);
      button.addEventListener("click", () => remember("answers", name, letterOf(button)));
      item.replaceChildren(button);
      return button;
    });
    const letterOf = (button) => button.textContent.trim()[0];
    let shown;
    answer.classList.add("waiting");
    return () => {
      const chosen = memory.answers[name];
      for (const button of buttons) {
        button.setAttribute("aria-pressed", letterOf(button) === chosen);
        button.classList.toggle("right", Boolean(chosen) && letterOf(button) === right);
      }
      if (chosen === shown) return;
      shown = chosen;
      answer.classList.toggle("waiting", !chosen);
      answer.open = Boolean(chosen);
      said.textContent = !chosen ? "" : chosen === right ? "That is right." : `Not ${chosen}, but ${right}.`;
    };
  });

  // Contents: a mark behind each page that was read, and a line below them.
  const nav = document.querySelector("nav.bd-links");
  const count = make("span", {}), forget = make("button", { type: "button" }, "Forget it");
  const line = make("p", { class: "progress-line", hidden: "" }, count, " Only this device knows. ", forget);
  nav?.append(line);
  forget.addEventListener("click", () => {
    memory.read = {};
    memory.answers = {};
    try {
      localStorage.removeItem(KEY);
    } catch {}
    show();
  });
  const some = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

  function show() {
    for (const question of questions) question();
    for (const link of nav?.querySelectorAll("a.internal") ?? []) {
      const read = memory.read[nameOf(new URL(link.href, location).pathname)];
      const mark = link.querySelector(".read");
      if (read && !mark) link.append(make("span", { class: "read", role: "img", "aria-label": "read" }, "✓"));
      else if (!read) mark?.remove();
    }
    const pages = Object.keys(memory.read).length, answers = Object.keys(memory.answers).length;
    line.hidden = !pages && !answers;
    const text = `${some(pages, "page")} read, ${some(answers, "question")} answered.`;
    if (count.textContent !== text) count.textContent = text;
  }

  const end = document.querySelector(".prev-next-footer");
  if (end && nav) {
    new IntersectionObserver((seen, watch) => {
      if (!seen.some((one) => one.isIntersecting)) return;
      watch.disconnect();
      if (!memory.read[here]) remember("read", here, 1);
    }).observe(end);
  }
  show();
})();
