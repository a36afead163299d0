"""Which of many may stay, found by halving: for harm that can be measured on a whole set but not on its members.

Of n members of which d do harm, about d log2(n/d) + d tests find them (Dorfman 1943; Hwang 1972, binary splitting);
one test finds that there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def keep_harmless(
    items: Sequence[Item], harmless: Callable[[Sequence[Item]], bool], tests: int
) -> tuple[tuple[Item, ...], int]:
    """Members of `items` that do no harm together, and how many calls of `harmless` it took.

    Members are added in halves and kept while the whole stays harmless, so that harm which two do only together is
    found as well. What `tests` calls could not clear is left out.
    """
    kept: tuple[Item, ...] = ()
    used = 0
    waiting = [tuple(items)] if items else []
    while waiting and used < tests:
        part = waiting.pop()
        used += 1
        if harmless((*kept, *part)):
            kept += part
        elif len(part) > 1:
            middle = len(part) // 2
            waiting += [part[middle:], part[:middle]]
    return kept, used
