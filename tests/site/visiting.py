"""Visits to pages in a browser."""

WIDE, NARROW = dict(width=1280, height=900), dict(width=390, height=844)
# A visit is a reader's first: nothing is stored. How much the page moves by itself is counted.
FIRST = """if (location.protocol !== "about:") {
  localStorage.clear();
  sessionStorage.clear();
}
window.shift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) shift += entry.value;
}).observe({ type: "layout-shift", buffered: true });"""
DRAWN = """async () => {
  await document.fonts.ready;
  for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
}"""


class Visitor:
    """Opens addresses, and keeps what the console, the scripts and the requests of their pages complain of.

    A new tab takes longer than most tests, so tabs are kept, one for files and one for what is served, and a visit is
    made a first one: without cache, storage or a mouse. A page is there until the next visit with the same options.
    """

    def __init__(self, browser):
        self.browser, self.tabs, self.visited, self.complaints = browser, {}, [], []

    def tab(self, name, scripts=True, **options):
        """The tab of this name with these options, with what its page asked for in ``tab.asked``."""
        key = name, scripts, *sorted(options.items())
        if key not in self.tabs:
            context = self.browser.new_context(java_script_enabled=scripts, **options)
            self.tabs[key] = tab = context.new_page()
            session = context.new_cdp_session(tab)
            session.send("Network.enable")
            session.send("Network.setCacheDisabled", dict(cacheDisabled=True))
            tab.asked, tab.pending, tab.left, tab.leaving = [], set(), set(), False
            tab.on("request", lambda request: self.ask(tab, request))
            tab.on("framenavigated", lambda frame: self.leave(tab, frame))
            tab.on("requestfinished", lambda request: tab.pending.discard(request))
            if scripts:  # without them the console says that there are none
                tab.on("console", self.hear)
                tab.on("pageerror", lambda error: self.complaints.append(str(error)))
                tab.on("requestfailed", lambda request: self.miss(tab, request))
                tab.add_init_script(FIRST)
        return self.tabs[key]

    def ask(self, tab, request):
        """Note a request; one for another page, by a link or a form say, begins to leave this one."""
        tab.asked.append(request.url)
        tab.pending.add(request)
        if request.is_navigation_request() and request.frame == tab.main_frame:
            tab.leaving = True

    def leave(self, tab, frame):
        """Note what is pending when a page is left; a step within a page leaves nothing."""
        if tab.leaving and frame == tab.main_frame:
            tab.leaving, tab.left = False, {*tab.pending}

    def miss(self, tab, request):
        """Hear of a request that failed; what leaving a page breaks off, an icon say, is no complaint."""
        tab.pending.discard(request)
        broken_off = request.failure == "net::ERR_ABORTED" and (tab.leaving or request in tab.left)
        if not broken_off:
            self.complaints.append(request.url)

    def hear(self, said):
        if said.type in ("error", "warning"):
            self.complaints.append(said.text)

    def __call__(self, url, name="", scripts=True, viewport=WIDE, color_scheme="light", **options):
        """Visit an address and return its page, loaded and drawn. What comes later has come after ``late``."""
        page = self.tab(name or url.split(":")[0], scripts, **options)
        self.late(page)  # until all is heard that the page before complains of
        page.leaving = True
        page.goto("about:blank")
        page.mouse.move(-1, -1)
        page.set_viewport_size(viewport)
        page.emulate_media(media="screen", color_scheme=color_scheme)
        page.asked.clear()
        page.goto(url)
        if scripts:
            page.evaluate(DRAWN)
        self.visited.append(page)
        return page

    def late(self, page):
        """Wait until a page has asked for nothing for half a second since it was loaded; mostly it has by now."""
        page.wait_for_load_state("networkidle")
