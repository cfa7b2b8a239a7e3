// What scrolls by itself, a wide table, formula or cell, can be scrolled by keyboard, and shows that it goes on.
"use strict";

(() => {
  const show = (one) => one.toggleAttribute("data-more", one.scrollWidth - one.clientWidth - one.scrollLeft > 1);
  const watch = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
      else target.removeAttribute("tabindex");
      show(target);
    }
  });
  for (const one of document.querySelectorAll("article :is(table, div.math, pre)")) {
    watch.observe(one);
    one.addEventListener("scroll", () => show(one), { passive: true });
  }
})();
