"""Self-checks for the exercises: what is right, and which misconception an answer shows::

    from focalbook.checks import chapter04 as checks

    checks.focal_loss(my_function)

A check takes the answer, a function or a value, and prints that it is right, or raises ``NotYet`` with one sentence.
There is a module for the exercises of every chapter; ``check`` says what a check is.
"""

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
"""What an exercise's solution stands between: a student's edition is without it, the site without the marks."""
