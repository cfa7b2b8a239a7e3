"""Numbers in prose, bound to computed values: the page shows what the cell computed, never what somebody typed."""

import re


def bind(**values: str) -> None:
    """Bind each text to a name that the chapter's prose shows by the role ``glue:text``; returns nothing.

    ``values``: names and texts, already formatted, with at most 5 digits (``ratio=f"{ratio:.1f}"``): the text is stored
    with the notebook's outputs and compared to the letter when they are verified. The hyphen before a number becomes a
    minus sign. Raises ``TypeError`` for anything but text, because a bare float would store digits that differ between
    machines.
    """
    for name, value in values.items():
        if not isinstance(value, str):
            raise TypeError(f"{name} must be formatted text such as f'{{value:.3f}}', got {value!r}")
    from IPython.display import display

    prefix = "application/papermill.record/"
    for name, value in values.items():
        value = re.sub(r"(?<!\w)-(?=\.?\d)", "−", value)
        record = {"scrapbook": {"name": name, "mime_prefix": prefix}}
        # The name again as data: verification compares data and not metadata, and names must not be swapped.
        display({prefix + "text/plain": repr(value), prefix + "text/name": name}, metadata=record, raw=True)
