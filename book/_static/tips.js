// Tips for the terms of the glossary: shown to the mouse, the keyboard and, at the first tap, to a finger.
"use strict";

(() => {
  const tip = document.createElement("div");
  tip.id = tip.className = "tip";
  tip.setAttribute("role", "tooltip");
  tip.hidden = true;
  let shown = null, pointer = ""; // a click does not say everywhere whether it was a finger

  function hide() {
    if (shown) shown.removeAttribute("aria-describedby");
    tip.hidden = true;
    shown = null;
  }

  function show(link) {
    if (shown === link) return;
    hide();
    shown = link;
    tip.textContent = link.dataset.tip;
    tip.hidden = false;
    link.setAttribute("aria-describedby", "tip");
    const line = link.getClientRects()[0], edge = document.documentElement.clientWidth - tip.offsetWidth - 8;
    const below = line.bottom + tip.offsetHeight + 12 < innerHeight;
    tip.style.left = `${scrollX + Math.max(8, Math.min(line.left, edge))}px`;
    tip.style.top = `${scrollY + (below ? line.bottom : line.top - tip.offsetHeight)}px`;
  }

  for (const word of document.querySelectorAll("article a[title] > .std-term")) {
    const link = word.parentElement;
    link.dataset.tip = link.title;
    link.removeAttribute("title");
    link.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && show(link));
    link.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && event.relatedTarget !== tip && hide());
    link.addEventListener("focus", () => link.matches(":focus-visible") && show(link));
    link.addEventListener("blur", hide);
    link.addEventListener("click", (event) => {
      if (pointer !== "touch" || shown === link) return;
      event.preventDefault();
      show(link);
    });
  }
  tip.addEventListener("pointerleave", hide);
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  document.addEventListener("pointerdown", (event) => {
    pointer = event.pointerType;
    if (shown && !shown.contains(event.target) && event.target !== tip) hide();
  }, true);
  document.body.append(tip);
})();
