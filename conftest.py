"""Set before any kernel starts: no progress bars in outputs that are compared, and one thread a worker, because two
spinning workers on two busy cores are many times slower than two single threads."""

import os

os.environ.setdefault("FOCALBOOK_QUIET", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
