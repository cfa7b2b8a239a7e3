"""Plants: changes of a notebook, as JSON has it, that a fault must name."""


def replace(old, new):
    """A plant: ``old`` becomes ``new`` where it first stands, in a cell, a caption or an alt text."""

    def plant(notebook):
        for cell in notebook["cells"]:
            shown = cell.get("metadata", {}).get("mystnb", {})
            places = ((cell, "source"), (shown.get("figure", {}), "caption"), (shown.get("image", {}), "alt"))
            for place, key in places:
                typed = "".join(place.get(key, ""))
                if old in typed:
                    place[key] = typed.replace(old, new, 1)
                    return
        raise AssertionError(f"not on the page: {old}")

    return plant


def say(sentence):
    """A plant: one more sentence at the end."""

    def plant(notebook):
        notebook["cells"][-1]["source"] = "".join(notebook["cells"][-1]["source"]) + "\n" + sentence

    return plant
