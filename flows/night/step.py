"""A step of the night: a function with a name, and how long it waits for a store that is away.

The night calls each step through a runner, so that `errata correct` calls the function as it is and Prefect makes a
task of it, with the step's own retries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, ParamSpec, Protocol, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

STORE_AWAY = (1.0, 5.0, 20.0, 40.0)  # seconds before each further attempt, for a step that reads or writes the store


@dataclass(frozen=True)
class Step(Generic[Arguments, Result]):
    """`function` under a `name`; tried again after each of `waits` (seconds) if the store did not answer."""

    name: str
    function: Callable[Arguments, Result]
    waits: tuple[float, ...] = ()

    def __call__(self, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return self.function(*args, **kwargs)


class RunStep(Protocol):
    """Calls a step, in a Prefect task say, and returns what it returns."""

    def __call__(
        self, step: Step[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result: ...


def step(
    name: str, *, waits: tuple[float, ...] = ()
) -> Callable[[Callable[Arguments, Result]], Step[Arguments, Result]]:
    """Make a step of the function below."""
    return lambda function: Step(name, function, waits)


def run_here(step: Step[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
    """The plain runner: the step as it is, once."""
    return step(*args, **kwargs)
