"""What a browser complains of on a page."""


def listen(page, complaints):
    """Append to the list what the page's console, scripts and requests complain of."""
    page.on("console", lambda said: said.type in ("error", "warning") and complaints.append(said.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(request.url))
