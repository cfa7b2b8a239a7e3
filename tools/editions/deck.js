// The deck: arrow keys turn the slides, S opens the speaker's view, T changes between light and dark, ? names all keys.
"use strict";

const dark = matchMedia("(prefers-color-scheme: dark)");
const change = (to) => (document.documentElement.dataset.theme = to);
change(dark.matches ? "dark" : "light");
dark.addEventListener("change", () => change(dark.matches ? "dark" : "light"));

Reveal.initialize({
  width: 1280, height: 720, margin: 0.03, center: false,
  hash: true, slideNumber: "c/t", transition: "none", plugins: [RevealNotes],
});
Reveal.addKeyBinding({ keyCode: 84, key: "T", description: "Light or dark" }, () =>
  change(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));

// In a slider the arrow keys move the slider. Escape, or the next click elsewhere, gives them back to the slides.
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && event.target.matches("input, button")) {
    event.target.blur();
    event.stopImmediatePropagation();
  }
}, true);
