"""The register of checks.

A check is a function that takes a `Bench` and raises when what it saw is not what the rule asks
for. It is entered here by a decorator, under a dotted name that never changes: reports of two
runs are compared by name.
"""

from dataclasses import dataclass
from typing import Callable, Optional


class Failed(Exception):
    """The program under test did not do what the rule asks for."""


class Skip(Exception):
    """The check cannot run here; the text says what is missing."""


@dataclass
class Side:
    """What one side of a `differs` row is expected to show."""

    text: str
    holds: Callable[[object], bool]


@dataclass
class Check:
    name: str
    description: str
    run: Callable
    # Seconds it is likely to take; only used to start the long ones first.
    weight: float = 1.0
    # Which supervisorctl the check talks through: "test" (the one under test) or "stock".
    client: str = "test"
    original: Optional[Side] = None
    ours: Optional[Side] = None

    @property
    def differs(self):
        return self.original is not None


CHECKS = {}


def _enter(check):
    if check.name in CHECKS:
        raise RuntimeError(f"two checks are called {check.name}")
    CHECKS[check.name] = check


def check(name, description, weight=1.0):
    """Enters a check that asks the same of every program under test."""

    def enter(function):
        _enter(Check(name, description, function, weight))
        return function

    return enter


def ctl_check(name, description, weight=1.0, stock=False):
    """Enters a check of supervisorctl; with `stock`, once more through the stock client."""

    def enter(function):
        _enter(Check("ctl." + name, description, function, weight))
        if stock:
            text = description + " (stock client)"
            _enter(Check("ctl_stock." + name, text, function, weight, client="stock"))
        return function

    return enter


def differs(name, description, original, ours, weight=1.0):
    """Enters a check where the two sides are meant to differ.

    The function returns what it saw. `original` and `ours` are pairs of a text and a predicate
    over that.
    """

    def enter(function):
        _enter(Check(name, description, function, weight, "test", Side(*original), Side(*ours)))
        return function

    return enter


def expect(condition, why):
    """Fails the check with `why` unless `condition` holds."""
    if not condition:
        raise Failed(why)


def same(seen, wanted, what="value"):
    """Fails the check unless the two are equal."""
    if seen != wanted:
        raise Failed(f"{what}: expected {wanted!r}, saw {seen!r}")


def contains(text, part, what="text"):
    """Fails the check unless `part` is in `text`."""
    if part not in text:
        raise Failed(f"{what}: expected {part!r} in {text!r}")


def lacks(text, part, what="text"):
    """Fails the check if `part` is in `text`."""
    if part in text:
        raise Failed(f"{what}: did not expect {part!r} in {text!r}")
