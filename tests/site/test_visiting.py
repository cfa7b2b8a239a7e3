"""The visits themselves: a first one every time, what comes late is seen, and what axe-core remembers hides nothing."""

import re

import pytest
from axe import violations

LATE = """<!doctype html><html lang="en"><title>Late</title><body><p>Words</p><script>
addEventListener("load", () => setTimeout(() => {
  document.body.prepend(Object.assign(document.createElement("div"), { style: "height: 300px" }));
  document.body.append(Object.assign(new Image(), { src: "late.png" }));
  console.warn("said late");
  setTimeout(() => nothing());
}, 100))
</script>"""
# Every word with a name is hard to read. Before it stands one that looks like it in all respects but one, and is not.
PAPER = """<!doctype html><html lang="en"><title>Paper</title><style>
  body { background: white; color: black }
  p { margin: 0; line-height: 20px; position: relative }
  .box { position: absolute; top: 20px; left: 0; right: 0; height: 20px; background: #333 }
  .away { position: absolute; z-index: 1; left: 300px }
</style><body><p>Words</p>
<p id="pale" style="color: #aaa">Words</p>
<p id="on-dark" style="background: #333">Words</p>
<p style="color: #eee; background: #222">Words</p><p id="without-its-ground" style="color: #eee">Words</p>
<p style="color: #888; font-size: 30px">Words</p><p id="small" style="color: #888">Words</p>
<p style="color: #ddd">→</p><p id="after-a-sign" style="color: #ddd">Words</p>
<div><p>Words</p></div><div style="opacity: 0.3"><p id="faint">Words</p></div>
<div><p class="away">Words</p></div><p>Words</p>
<div style="opacity: 0.3"><p class="away" id="faint-elsewhere">Words</p></div><p>Words</p>
<p class="away" style="color: #ccc; clip: rect(0 0 0 0)">Words</p><p>Words</p>
<p class="away" id="after-one-that-is-clipped" style="color: #ccc">Words</p><p>Words</p>
<p class="away" style="color: #bbb; left: -900px">Words</p><p>Words</p>
<p class="away" id="after-one-out-of-sight" style="color: #bbb">Words</p><p>Words</p>
<div style="position: relative"><p>Words</p><div class="box"></div><p id="before-a-box">Words</p></div>
<p><b>Words</b> <b id="one-of-two" style="color: #bbb">Words</b></p>
"""


@pytest.fixture
def address_of(tmp_path):
    """Stores a page and returns its address."""

    def store(text):
        (tmp_path / "page.html").write_text(text, "utf-8")
        return (tmp_path / "page.html").as_uri()

    return store


def test_every_visit_is_a_first_one(visit, address):
    before = visit(f"{address}book/index.html")
    before.evaluate("localStorage.seen = sessionStorage.seen = true")
    before.mouse.move(100, 100)
    assert before.evaluate("document.querySelectorAll(':hover').length")
    after = visit(f"{address}book/index.html")
    assert after.evaluate("[localStorage.seen, sessionStorage.seen, document.querySelector(':hover')]") == [None] * 3
    loaded = after.evaluate("performance.getEntriesByType('resource').map((one) => [one.name, one.transferSize])")
    assert len(loaded) > 10 and [name for name, size in loaded if not size and not name.startswith("data:")] == []


def test_what_comes_late_is_seen(visit, address_of):
    page = visit(address_of(LATE))
    visit.late(page)
    assert [url.split("/")[-1] for url in page.asked] == ["page.html", "late.png"]
    assert page.evaluate("shift") > 0.05
    assert ["said late" in visit.complaints, any("nothing is not" in said for said in visit.complaints)] == [True] * 2
    assert any(said.endswith("late.png") for said in visit.complaints)
    visit.complaints.clear()


def test_a_request_that_a_page_gives_up_is_a_complaint_and_one_that_leaving_breaks_off_is_none(visit, address):
    tab = visit.tab("http")
    tab.route("**/slow", lambda route: None)  # it is never answered
    try:
        page = visit(f"{address}book/index.html")
        visit.late(page)
        page.evaluate("""async () => {
            const stop = new AbortController(), asked = fetch("/slow", { signal: stop.signal });
            setTimeout(() => stop.abort(), 50);
            await asked.catch(() => {});
        }""")
        page.wait_for_timeout(100)
        assert [url.split("/")[-1] for url in visit.complaints] == ["slow"]
        visit.complaints.clear()
        page.evaluate("() => void fetch('/slow').catch(() => {})")
        page = visit(f"{address}book/index.html")
        page.evaluate("() => { fetch('/slow').catch(() => {}); setTimeout(() => { location = 'notation.html' }, 50) }")
        page.wait_for_url("**/notation.html")
        visit.late(page)
    finally:
        tab.unroute("**/slow")


@pytest.mark.parametrize("remember", (True, False))
def test_what_is_remembered_of_contrast_hides_nothing(remember, visit, address_of):
    found = violations(visit(address_of(PAPER)), remember, runOnly=["color-contrast"])
    assert [re.search('id="(.*?)"', html)[1] for _, html in found] == re.findall('id="(.*?)"', PAPER)


def test_what_is_remembered_of_contrast_is_forgotten_when_the_page_changes(visit, address_of):
    page = visit(address_of('<!doctype html><html lang="en"><title>Page</title><body><p>Words</p><p>Words</p>'))
    assert violations(page, runOnly=["color-contrast"]) == []
    page.add_style_tag(content="p { color: #ddd }")
    assert len(violations(page, runOnly=["color-contrast"])) == 2
