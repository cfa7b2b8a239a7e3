"""Self-checks for the exercises: what is right, and which misconception an answer shows.

    from focalbook import checks

    checks.focal_loss(my_function)

A check takes the answer, a function or a value, and prints that it is right, or raises ``NotYet`` with one sentence.
There is a module for the exercises of every chapter; ``check`` says what a check is.
"""

from focalbook.checks.chapter01 import *  # noqa: F403
from focalbook.checks.chapter02 import *  # noqa: F403
from focalbook.checks.chapter03 import *  # noqa: F403
from focalbook.checks.chapter04 import *  # noqa: F403
from focalbook.checks.chapter05 import *  # noqa: F403
from focalbook.checks.chapter06 import *  # noqa: F403
from focalbook.checks.chapter07 import *  # noqa: F403
from focalbook.checks.chapter08 import *  # noqa: F403
from focalbook.checks.chapter09 import *  # noqa: F403
from focalbook.checks.chapter10 import *  # noqa: F403
from focalbook.checks.chapter11 import *  # noqa: F403
from focalbook.checks.chapter12 import *  # noqa: F403
from focalbook.checks.chapter13 import *  # noqa: F403
from focalbook.checks.chapter14 import *  # noqa: F403
from focalbook.checks.chapter15 import *  # noqa: F403
from focalbook.checks.chapter16 import *  # noqa: F403
from focalbook.checks.chapter17 import *  # noqa: F403
from focalbook.checks.chapter18 import *  # noqa: F403
from focalbook.checks.chapter19 import *  # noqa: F403
from focalbook.checks.chapter20 import *  # noqa: F403
