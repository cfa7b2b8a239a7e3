"""What a check is: a right answer, the cases it is tried with, and the known wrong answers with a sentence for each."""

import copy
import ctypes
import re
import reprlib
import textwrap
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Real

import numpy as np
import torch

SECONDS = 20.0
"""How long an answer may take on all cases of a check together; the first optimizer of a process alone takes some."""

FEW, SOME = 6, 24
"""As many numbers are shown one by one: of a result, and of an argument."""


class NotYet(AssertionError):
    """The answer does not hold yet. A notebook shows its one sentence, and no traceback."""

    def _render_traceback_(self):
        return [f"Not yet: {self}"]


@dataclass(frozen=True)
class Check:
    """The check of one exercise; call it with the answer.

    ``reference`` gives the right answer. ``cases`` are the tuples of arguments that a function is tried with; without
    them the answer is a value, and ``reference`` takes no arguments. ``mistakes`` maps the sentence that names a
    misconception to the function that has it, with the arguments of ``reference``. ``tolerance`` is relative to the
    largest number of a result. ``probe`` says what is compared, given a function and its arguments: what the function
    returns, unless the check looks at something else, such as a gradient.
    """

    reference: Callable
    cases: tuple = ()
    mistakes: Mapping[str, Callable] = field(default_factory=dict)
    tolerance: float = 1e-6
    probe: Callable = lambda function, *arguments: function(*arguments)

    def __call__(self, answer):
        """Print that the answer holds, or raise ``NotYet`` with one sentence on what is wrong, and nothing else."""
        if self.cases and not callable(answer):
            raise NotYet(f"hand over the function itself, without brackets; this is {brief(answer)}")
        if not self.cases and answer is ...:
            raise NotYet("there is no answer yet: write answer = and your value")
        if not self.cases and (answer is None or callable(answer)):
            raise NotYet(f"put your answer, a value, in place of {brief(answer)}")
        given = within_time(lambda: self._results(answer if self.cases else lambda: answer))
        right = self._results(self.reference)
        if self._agree(given, right):
            words = {1: "Right.", 2: "Right: both cases hold."}
            print(words.get(len(right), f"Right: all {len(right)} cases hold."))
            return
        for sentence, mistake in self.mistakes.items():
            if self._agree(given, self._results(mistake)):
                raise NotYet(sentence)
        if not self.cases:
            raise NotYet(f"{brief(answer)} is not it: a hint may help")
        place = [alike(one, other, self.tolerance) for one, other in zip(given, right)].index(False)
        told = difference(given[place], right[place], self.tolerance)
        raise NotYet(f"in cases[{place}], with the arguments {listed(self.cases[place])}, {told}")

    def _results(self, function):
        """What the function gives in every case, on copies of the arguments: an answer may write into them."""
        with np.errstate(all="ignore"):
            return [self.probe(function, *copy.deepcopy(case)) for case in self.cases or ((),)]

    def _agree(self, given, right):
        return all(alike(one, other, self.tolerance) for one, other in zip(given, right))


def loss_and_slope(function, logits, *arguments):
    """A probe for checks of a loss: what the function returns, and the slope of its sum in the logits (a fresh tensor);
    a slope of zeros where the loss has none."""
    logits = logits.requires_grad_()
    loss = function(logits, *arguments)
    if isinstance(loss, Real | np.ndarray):
        return torch.as_tensor(loss, dtype=logits.dtype), torch.zeros_like(logits)
    if not isinstance(loss, torch.Tensor):
        return loss
    slope = torch.autograd.grad(loss.sum(), logits)[0] if loss.requires_grad else torch.zeros_like(logits)
    return loss.detach(), slope


def within_time(work, seconds=SECONDS):
    """The result of ``work()``. What it raises, and a time beyond ``seconds``, become a ``NotYet``."""
    done = []

    def run():
        try:
            done.append((work(), None))
        except BaseException as error:  # an answer may do anything: leave, or interrupt
            done.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        thread.join(seconds)
    finally:  # after an interrupt too
        late = not done
        if late:
            stop = ctypes.py_object(SystemExit)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), stop)
            thread.join(1)
    if late:
        raise NotYet(f"it runs for more than {seconds:g} seconds: does a loop never end?")
    result, error = done[0]
    if error is not None:
        raise NotYet(f"it stops with {type(error).__name__}: {words(error)}".rstrip(": ")) from None
    return result


def alike(given, right, tolerance):
    """Whether two results are the same: of one structure and shape, and of numbers within the tolerance."""
    if isinstance(right, Mapping):
        same = isinstance(given, Mapping) and given.keys() == right.keys()
        return same and all(alike(given[key], right[key], tolerance) for key in right)
    if isinstance(right, tuple | list):
        given = list(given) if isinstance(given, np.ndarray | torch.Tensor) and given.ndim else given
        same = isinstance(given, tuple | list) and len(given) == len(right)
        return same and all(alike(one, other, tolerance) for one, other in zip(given, right))
    if isinstance(right, str):
        return isinstance(given, str) and given == right
    given, right = array(given), array(right)
    if given is None or right is None or given.shape != right.shape:
        return False
    with np.errstate(all="ignore"):
        largest = np.abs(right[np.isfinite(right)]).max(initial=0.0)
        return np.allclose(given, right, rtol=0, atol=tolerance * (largest or 1.0), equal_nan=True)


def array(value):
    """Numbers as a float64 array, whether they come as Python's, NumPy's or torch's; None for anything else."""
    try:
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu()
            value = value.double() if value.is_floating_point() else value  # NumPy has no bfloat16
        value = np.asarray(value)
        return value.astype(np.float64) if value.dtype.kind in "biuf" else None
    except Exception:  # an answer's own class may fail at anything
        return None


def difference(given, right, tolerance):
    """In what a result differs from the right one, for the learner."""
    if given is None or given is ...:
        return "it returns nothing: write its body, and return the result"
    if isinstance(right, tuple | list) and isinstance(given, tuple | list) and len(given) == len(right):
        number, pair = next((n, p) for n, p in enumerate(zip(given, right), 1) if not alike(*p, tolerance))
        return f"in part {number} {difference(*pair, tolerance)}"
    if isinstance(right, Mapping | tuple | list | str):
        return f"it gives {brief(given)}; right is {brief(right)}"
    numbers, wanted = array(given), array(right)
    if numbers is None:
        return f"it gives {brief(given)}, and numbers are wanted"
    if numbers.shape != wanted.shape:
        return f"the result has shape {numbers.shape}; right is {wanted.shape}"
    if np.isnan(numbers).any() and not np.isnan(wanted).any():
        return "there is a NaN in the result"
    if numbers.size > FEW:
        with np.errstate(all="ignore"):
            apart = np.nan_to_num(np.abs(numbers - wanted), nan=0.0, posinf=np.inf)
        place = tuple(map(int, np.unravel_index(apart.argmax(), apart.shape)))
        return f"at place {place} it gives {numbers[place]:.5g}; right is {wanted[place]:.5g}"
    return f"it gives {brief(given)}; right is {brief(right)}"


def brief(value, most=FEW):
    """A value in a few words."""
    if callable(value):
        return "a function"
    numbers = array(value)
    if numbers is None:
        return words(value, reprlib.repr)
    if numbers.size > most:
        return f"numbers of shape {numbers.shape}"
    shown = np.array2string(numbers, separator=", ", formatter={"float_kind": "{:.6g}".format})
    return re.sub(r"\n\s*", " ", shown)


def words(thing, say=str):
    """What a thing says of itself, on one line; its type where an answer's own class fails at that."""
    try:
        return textwrap.shorten(say(thing), 200, placeholder=" ...")
    except Exception:
        return f"a {type(thing).__name__}"


def listed(arguments):
    """The arguments of a case in a few words."""
    return textwrap.shorten(", ".join(brief(each, SOME) for each in arguments), 300, placeholder=" ...")
