"""axe-core, run on a page as it is at the moment.

Most of its time would go into the contrast of words, one after the other, and most words of a page look like many
others. So what passes is remembered, by the looks of a word and of everything that it stands in or before.
"""

from axe_playwright_python.base import AXE_SCRIPT

REMEMBER = """() => {
  const LOOKS = ["color", "background-color", "background-image", "opacity", "mix-blend-mode", "position", "z-index",
    "font-size", "font-weight", "text-shadow", "-webkit-text-fill-color", "-webkit-text-stroke"];
  const check = axe._audit.checks["color-contrast"], { evaluate } = check, { getBackgroundStack } = axe.commons.color;
  const numbers = new Map(), looks = new Map(), passed = new Set();
  const number = (text) => {
    if (!numbers.has(text)) numbers.set(text, numbers.size);
    return numbers.get(text);
  };
  const look = (one) => {
    if (one && !looks.has(one)) {
      const style = getComputedStyle(one), own = LOOKS.map((name) => style.getPropertyValue(name));
      looks.set(one, number([one.tagName, ...own, look(one.parentElement)].join()));
    }
    return looks.get(one);
  };
  check.evaluate = function (node, ...rest) {
    const behind = getBackgroundStack(node)?.map((one) => (one === node ? "itself" : look(one)));
    const key = behind && [look(node), ...behind].join();
    if (passed.has(key)) return true;
    let ratio;
    const data = (found) => this.data(found, (ratio = found?.contrastRatio));
    const passes = evaluate.call({ ...this, data }, node, ...rest);
    if (key && passes && ratio) passed.add(key); // one out of sight passes without a ratio
    return passes;
  };
  window.look_anew = () => looks.clear();
}"""
RUN = """(options) => {
  look_anew();
  return axe.run(options);
}"""


def violations(page, remember=True, **options):
    """What axe-core finds on a page, as pairs of a rule's name and the beginning of an element."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
        page.evaluate(REMEMBER if remember else "window.look_anew = () => {}")
    found = page.evaluate(RUN, dict(preload=False, resultTypes=["violations"], **options))["violations"]
    return [(rule["id"], node["html"][:200]) for rule in found for node in rule["nodes"]]
