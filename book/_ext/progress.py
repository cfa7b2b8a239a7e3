"""Questions that ask for a choice before they give the reason, and what a reader's device remembers: ``progress.js``.

In a page's source a question is a list of choices, each with its letter first, and behind it a fold named Answer whose
text starts with the letter of the right one. Without scripts that is what there is to see, as in a notebook.
"""

from docutils import nodes

ANSWER = "<summary>Answer</summary>"


def mark_choices(app, doctree):
    for fold in doctree.findall(nodes.raw):
        before = fold.parent.index(fold) - 1
        if ANSWER in fold.astext() and isinstance(fold.parent[before], nodes.bullet_list):
            fold.parent[before]["classes"].append("choices")


def setup(app):
    app.connect("doctree-read", mark_choices)
    app.add_js_file("progress.js", loading_method="defer")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
