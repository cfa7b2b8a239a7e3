// What scrolls by itself, a wide table or formula, can be scrolled by keyboard.
"use strict";

(() => {
  const watch = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
      else target.removeAttribute("tabindex");
    }
  });
  document.querySelectorAll("article :is(table, div.math)").forEach((one) => watch.observe(one));
})();
