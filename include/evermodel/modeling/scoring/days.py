"""Which days a run scores: the one before it, or those of a range that a person asks for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TypeVar

from evermodel.core.errors import PermanentError
from evermodel.spec.window import last_day, parse_moment, whole_day

_DAY = timedelta(days=1)


def days_to_score(first: str, last: str, as_of: str | datetime, longest: int = 1024) -> list[datetime]:
    """Return for each day the midnight that ends it.

    Parameters
    ----------
    first, last
        Days (``YYYY-MM-DD``, UTC), both included; without a first day, only the whole day before ``as_of``.
    longest
        Most days of one run.

    Raises
    ------
    PermanentError
        There is a last day but no first one, the range ends before it begins, or it is too long.

    >>> [f"{day:%m-%d}" for day in days_to_score("2024-02-28", "2024-03-01", "2024-06-01")]
    ['02-29', '03-01', '03-02']
    >>> days_to_score("", "", "2024-06-02T03:00")[0].isoformat()
    '2024-06-02T00:00:00+00:00'
    """
    newest = last_day(whole_day(as_of)).start
    if not first:
        if last:
            raise PermanentError(
                f"`to` is {last}, but `from` is missing", "start the run again with both days"
            )
        return [newest + _DAY]
    start, end = whole_day(first), whole_day(parse_moment(last)) if last else newest
    count = (end - start).days + 1
    if count < 1:
        raise PermanentError(f"`from` ({start:%Y-%m-%d}) is after `to` ({end:%Y-%m-%d})", "swap the two days")
    if count > longest:
        raise PermanentError(
            f"{count} days are too many for one run (at most {longest}, Airflow's core.max_map_length)",
            "start several runs, or raise this setting",
        )
    return [start + number * _DAY for number in range(1, count + 1)]


Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Give the result of each item, in their order; at most one item more than there are threads is waiting.

    >>> list(in_order(abs, [-1, 2, -3], threads=2))
    [1, 2, 3]
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, "scoring") as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
