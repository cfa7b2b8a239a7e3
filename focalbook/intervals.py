"""How sure are we? The one interval of the book, and what is decided by it (chapter 11).

Every comparison of two losses is a list of paired differences, one for each seed. All that is said of such a list goes
through this module; SciPy and statsmodels compute it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

FEWEST = 4
"""With fewer differences than this the points are shown, and nothing is concluded: at three the interval would reach
two and a half standard deviations to either side."""


def signed(value: float) -> str:
    """A difference as the book prints it: its sign, three digits and a true minus sign, as in "−0.046" (chapter 11)."""
    return f"{value:+.3f}".replace("-", "−")


class Interval(NamedTuple):
    """The ``mean`` of paired differences, the ends ``low`` and ``high`` of its interval, and ``p``, how often a mean
    at least as far from 0 would be seen if the true one were 0 (chapter 11)."""

    mean: float
    low: float
    high: float
    p: float

    def __str__(self) -> str:
        """The mean and the ends, as the tables of the book show them: "+0.034 [+0.030, +0.039]"."""
        return f"{signed(self.mean)} [{signed(self.low)}, {signed(self.high)}]"

    def named(self, name: str) -> dict[str, str]:
        """The mean and the ends as texts for ``prose.bind``, by ``name`` and by it with "_low" and "_high"."""
        return {name: signed(self.mean), f"{name}_low": signed(self.low), f"{name}_high": signed(self.high)}


def paired_interval(differences: ArrayLike, confidence: float = 0.95) -> Interval:
    """Student's t interval of the mean of paired differences (N,), by SciPy's one-sample t test.

        mean +- t s / sqrt(N),  s their standard deviation, t the quantile of Student's distribution with N - 1 degrees

    It assumes that the differences are independent of each other, which seeds that share no training scenes are, and
    that their mean is about normal, which a few draws from a distribution without heavy tails give. Under that it
    catches the true mean as often as ``confidence`` says at every N; a percentile bootstrap, which the first edition
    used, catches it in 83% of cases at N = 5. It speaks of new seeds on the same test scenes, not of new scenes.

    Raises ``ValueError`` for fewer than ``FEWEST`` differences, and for such as are not finite. Explained in chapter
    11.
    """
    values = _checked(differences)
    if np.ptp(values) == 0:  # no spread: t would be 0 / 0, or infinite
        return Interval(values[0], values[0], values[0], float(values[0] == 0))
    test = stats.ttest_1samp(values, 0.0)
    ends = test.confidence_interval(confidence)
    return Interval(float(values.mean()), float(ends.low), float(ends.high), float(test.pvalue))


def equivalence(differences: ArrayLike, margin: float) -> float:
    """How plausible a true mean outside of +-``margin`` is: the p of two one-sided t tests (Schuirmann 1987), a float.

    Small means: as good as each other, to within the margin, which has to be stated beforehand. That an interval holds
    0 does not say so. Raises ``ValueError`` as ``paired_interval`` does, and for a margin that is not positive.
    Explained in chapter 11.
    """
    values = _checked(differences)
    if not margin > 0:
        raise ValueError(f"margin must be positive, got {margin}")
    if np.ptp(values) == 0:
        return float(abs(values[0]) >= margin)
    above = stats.ttest_1samp(values, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(values, margin, alternative="less").pvalue
    return float(max(above, below))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p of several claims, raised so that all of those below 0.05 are right together in 95% of cases (Holm 1979): a
    list of floats in the order given. Raises ``ValueError`` for numbers outside of [0, 1]. Explained in chapter 11."""
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError(f"p_values must lie in [0, 1], got {list(p_values)}")
    return multipletests(p_values, method="holm")[1].tolist() if len(p_values) else []


def detectable(spread: float, seeds: int, power: float = 0.8) -> float:
    """The smallest true difference that a study of so many ``seeds`` finds with this ``power`` at p < 0.05, a float in
    the unit of ``spread``, the standard deviation of the paired differences (chapter 11).

    Raises ``ValueError`` for fewer than ``FEWEST`` seeds and for a spread that is not positive.
    """
    if seeds < FEWEST or not spread > 0:
        raise ValueError(f"need {FEWEST} seeds and a positive spread at least, got {seeds} and {spread}")
    return float(spread * TTestPower().solve_power(nobs=seeds, alpha=0.05, power=power))


def _checked(differences: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or len(values) < FEWEST or not np.isfinite(values).all():
        raise ValueError(
            f"differences must be at least {FEWEST} finite numbers in a row, got {values.tolist()}: show the points"
        )
    return values
