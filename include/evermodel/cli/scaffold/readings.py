"""Find out how a column's raw values are read: as times, as numbers, or as texts without blanks around them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from evermodel.data.validation.scan import name, text

# Words that stand for a missing value, in lower case.
MISSING = frozenset(
    {"", "n/a", "na", "#n/a", "n.a.", "nan", "null", "none", "nil", "-", "--", "?", ".", "missing", "unknown"}
)
_MOST_OTHERS = 0.02
_FEW_VALUES = 20
_NUMBER = re.compile(
    r"(?P<minus>[-+(]?)\s*(?P<before>[^\d\s.,()+-]{0,3})\s*(?P<digits>[-+]?[\d.,' \u00a0\u202f]*\d[\d.,]*)\s*"
    r"(?P<after>[^\d\s.,()+-]{0,4})\)?"
)
_POINT = re.compile(r"[-+]?(\d{1,3}([,' \u00a0\u202f]\d{3})+|\d+)?(\.\d*)?")
_COMMA = re.compile(r"[-+]?(\d{1,3}([.' \u00a0\u202f]\d{3})+|\d+)?(,\d*)?")
_CURRENCIES = frozenset({"$", "€", "£", "¥", "₹", "usd", "eur", "gbp", "chf", "jpy", "inr", "kr", "zł", "r$"})
_UNITS_AFTER = frozenset(
    [
        "%",
        "kg",
        "g",
        "mg",
        "lb",
        "lbs",
        "oz",
        "km",
        "m",
        "cm",
        "mm",
        "mi",
        "ft",
        "in",
        "l",
        "ml",
        "h",
        "hr",
        "hrs",
        "min",
        "s",
        "sec",
        "ms",
        "kwh",
        "kw",
        "mb",
        "gb",
        "°c",
        "°f",
        "days",
    ]
)
_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")

_CLOCK = (
    r"(?P<gap>,? +|T)(?P<clock>\d{1,2}:\d{2}(?P<seconds>:\d{2}(?P<parts>\.\d+)?)?)(?P<half> ?[AaPp][Mm])?"
)
_DATES = (
    (re.compile(rf"(?P<a>\d{{1,2}})(?P<sep>[/.\- ])(?P<b>\d{{1,2}})(?P=sep)(?P<y>\d{{4}}|\d\d)({_CLOCK})?"), "ab"),
    (re.compile(rf"\d{{1,2}}(?P<sep>[-/ .])(?P<m>[A-Za-z]{{3,9}})(?P=sep)(?P<y>\d{{4}}|\d\d)({_CLOCK})?"), "dmy"),
    (re.compile(rf"(?P<m>[A-Za-z]{{3,9}}) \d{{1,2}}(?P<comma>,?) (?P<y>\d{{4}})({_CLOCK})?"), "mdy"),
    (re.compile(rf"\d{{4}}(?P<sep>[/.])\d{{1,2}}(?P=sep)\d{{1,2}}({_CLOCK})?"), "ymd"),
    (re.compile(r"(19|20)\d{2}(0[1-9]|1[0-2])([0-2]\d|3[01])"), "compact"),
)  # fmt: skip
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?\s?(Z|UTC|[+-]\d{2}(:?\d{2})?)?)?")
_TIME_NAME = re.compile(
    r"(^|[_\W])(ts|dt|at|on|when|epoch|unix)($|[_\W])|date|time|(?<![a-z])day|stamp|[a-z](At|On)$",
    re.IGNORECASE,
)
_UNITS = {"seconds": 1, "milliseconds": 1000, "microseconds": 1_000_000, "nanoseconds": 1_000_000_000}
_FIRST, _LAST = 946_684_800, 2_051_222_400  # 2000 and 2035: whole numbers in between look like epochs


@dataclass(frozen=True)
class Reading:
    """How a column is read.

    Parameters
    ----------
    expression
        SQL of DuckDB over the raw column; what cannot be read becomes null.
    note
        What a person should know of it; empty if nothing.
    """

    kind: Literal["time", "number", "text"]
    expression: str
    note: str


def read_texts(column: str, values: Mapping[str, int]) -> Reading | None:
    """Return how a column of texts is read; None if it is taken as it is.

    Parameters
    ----------
    values
        Rows by value.
    """
    known = {value: n for value, n in values.items() if value.strip().lower() not in MISSING}
    if not known:
        return None
    missing = {value: n for value, n in values.items() if value not in known}
    found = _as_time(column, known, missing) or _as_number(column, known, missing)
    if found is not None:
        return found
    if any(value != value.strip() or not value for value in values):
        return Reading(
            "text", f"nullif(trim({name(column)}::VARCHAR), '')", "without the blanks around its values"
        )
    return None


def may_be_days(low: float, high: float) -> bool:
    """Tell whether whole numbers in this range may be days written as 20240131."""
    return low >= 19_000_101 and high <= 21_001_231


def read_whole_numbers(column: str, low: int, high: int, *, as_days: bool) -> Reading | None:
    """Return how whole numbers that are dates (20240131) or epochs are read; None if they are numbers.

    Parameters
    ----------
    low, high
        Lowest and highest value.
    as_days
        Whether every value can be read as year, month and day.
    """
    if low == high:
        return None
    named = _TIME_NAME.search(column) is not None
    if as_days:
        return Reading("time", _of_formats(column, ["%Y%m%d"], iso=False), "read as year, month, day")
    for unit, factor in _UNITS.items():
        first, last = (0 if named else _FIRST), (4_102_444_800 if named else _LAST)
        if first * factor <= low and high <= last * factor and high >= _FIRST * factor:
            return Reading("time", epoch(column, factor), f"read as {unit} since 1970 (UTC)")
    return None


def epoch(column: str, factor: int) -> str:
    """Return the SQL of the moment that a count of 1/factor seconds since 1970 is."""
    return f"to_timestamp({name(column)}::DOUBLE{f' / {factor}' if factor > 1 else ''})"


def _as_time(column: str, known: Mapping[str, int], missing: Mapping[str, int]) -> Reading | None:
    total, iso = sum(known.values()), 0
    formats: Counter[str] = Counter()
    pairs: dict[str, list[tuple[int, int]]] = {}
    for value, n in known.items():
        if _ISO.fullmatch(value.strip()):
            iso += n
        elif (found := _format_of(value.strip())) is not None:
            formats[found[0]] += n
            pairs.setdefault(found[0], []).extend([found[1]] if found[1] else [])
    if iso == total and not missing:
        return None
    if iso + sum(formats.values()) < (1 - _MOST_OTHERS) * total:
        return None
    if set(formats) == {"%Y%m%d"} and _TIME_NAME.search(column) is None:
        return None
    # A year of two digits first: four digits do not fit it, while two digits would be the year 25.
    usual = sorted(formats, key=lambda f: ("%y" not in f, -formats[f]))
    written: list[str] = []
    doubts = ""
    for each in usual:
        day_first, doubt = _day_first(pairs[each], each)
        doubts = doubts or doubt
        first, second = ("%d", "%m") if day_first else ("%m", "%d")
        written.append(each.replace("%a", first).replace("%b2", second))
    several = "mixed formats: " if len(written) + bool(iso) > 1 else ""
    shown = ", ".join([*written, *(["ISO 8601"] if iso else [])])
    note = f"{several}read as {shown}{doubts}"
    if words := [repr(value) for value in missing if value.strip()]:
        note += f"; {', '.join(words[:3])}: missing"
    return Reading("time", _of_formats(column, written, iso=True), note)


def _of_formats(column: str, formats: list[str], *, iso: bool) -> str:
    """Return the SQL that reads a text as a time; what a typed column already is, is read as ISO 8601."""
    raw = f"trim({name(column)}::VARCHAR)"
    if not formats:
        return f"TRY_CAST({raw} AS TIMESTAMPTZ)"
    listed = ", ".join(text(f) for f in formats)
    parsed = f"try_strptime({raw}, [{listed}])::TIMESTAMPTZ"
    return f"coalesce({parsed}, TRY_CAST({raw} AS TIMESTAMPTZ))" if iso else parsed


def _format_of(value: str) -> tuple[str, tuple[int, int] | None] | None:
    """Return the format of one value, with the two numbers whose order is open as %a and %b2."""
    for pattern, kind in _DATES:
        if (found := pattern.fullmatch(value)) is None:
            continue
        parts = found.groupdict()
        year = "%Y" if len(parts.get("y") or "1234") == 4 else "%y"
        month = "%b" if len(parts.get("m") or "") == 3 else "%B"
        sep = parts.get("sep") or ""
        date = {
            "ab": f"%a{sep}%b2{sep}{year}",
            "dmy": f"%d{sep}{month}{sep}{year}",
            "mdy": f"{month} %d{parts.get('comma') or ''} {year}",
            "ymd": f"%Y{sep}%m{sep}%d",
            "compact": "%Y%m%d",
        }[kind]
        if kind in ("dmy", "mdy") and not _is_month(parts["m"]):
            return None
        order = (int(parts["a"]), int(parts["b"])) if kind == "ab" else None
        return date + _clock_of(parts), order
    return None


def _clock_of(parts: Mapping[str, str | None]) -> str:
    if not parts.get("clock"):
        return ""
    half = parts.get("half") or ""
    clock = ("%I" if half else "%H") + ":%M" + (":%S" if parts.get("seconds") else "")
    clock += ".%f" if parts.get("parts") else ""
    return f"{parts['gap']}{clock}" + (f"{' ' if half.startswith(' ') else ''}%p" if half else "")


def _is_month(word: str) -> bool:
    for known in ("%b", "%B"):
        try:
            datetime.strptime(word, known).replace(tzinfo=UTC)
        except ValueError:
            continue
        return True
    return False


def _day_first(pairs: list[tuple[int, int]], format: str) -> tuple[bool, str]:
    """Tell whether the day stands before the month, and what to say of it."""
    days, months = (sum(pair[at] > 12 for pair in pairs) for at in (0, 1))
    if days != months:
        return days > months, ""
    if not pairs:
        return True, ""
    # Every number could be a month. Exports of a few days name more days than months.
    first, second = (len({pair[at] for pair in pairs}) for at in (0, 1))
    day_first = first > second if first != second else "%p" not in format
    said = "day" if day_first else "month"
    return day_first, f"; nothing tells day and month apart, so the {said} is taken to come first: check it"


def _as_number(column: str, known: Mapping[str, int], missing: Mapping[str, int]) -> Reading | None:
    total = sum(known.values())
    point = comma = 0
    tokens: Counter[str] = Counter()
    bare = odd = brackets = False
    for value, n in known.items():
        plain = value.strip()
        if _EXPONENT.fullmatch(plain):
            point, comma, bare = point + n, comma + n, True
            continue
        if (found := _NUMBER.fullmatch(plain)) is None or plain.startswith("(") != plain.endswith(")"):
            continue
        digits, token = found["digits"].strip(), found["before"] or found["after"]
        if (found["before"] and found["after"]) or re.fullmatch(r"0\d+", digits):
            odd = True  # two units, or a code with leading zeros
            continue
        if token and token.lower() not in (_CURRENCIES if found["before"] else _CURRENCIES | _UNITS_AFTER):
            continue
        point += n if _POINT.fullmatch(digits) else 0
        comma += n if _COMMA.fullmatch(digits) else 0
        tokens[token.lower()] += n if token else 0
        bare, brackets = bare or not token, brackets or plain.startswith("(")
    used = {token for token, n in tokens.items() if n}
    as_comma = comma > point
    read = max(point, comma)
    others = total - read
    few = len(known) <= _FEW_VALUES and others > 0
    if odd or few or others > _MOST_OTHERS * total or len(used) > 1 or (used - _CURRENCIES and bare):
        return None
    plain_numbers = not used and not brackets and not others and all(_is_plain(v) for v in known)
    if plain_numbers and not missing:
        return None
    expression = _number_sql(column, sorted(used), as_comma, brackets)
    return Reading("number", expression, _number_note(used, as_comma, known, missing, others))


def _is_plain(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return "_" not in value


def _number_sql(column: str, used: list[str], as_comma: bool, brackets: bool) -> str:
    letters = "".join(f"|{re.escape(token)}" for token in used)
    between = "." if as_comma else ","
    pattern = f"(?i)[{between}'\\s\u00a0\u202f]{letters}"
    raw = f"regexp_replace({name(column)}::VARCHAR, {text(pattern)}, '', 'g')"
    if brackets:
        raw = f"replace(replace({raw}, '(', '-'), ')', '')"
    if as_comma:
        raw = f"replace({raw}, ',', '.')"
    return f"nullif(TRY_CAST({raw} AS DOUBLE), 'nan')"


def _number_note(
    used: set[str], as_comma: bool, known: Mapping[str, int], missing: Mapping[str, int], others: int
) -> str:
    said = ["numbers written as text"]
    said += [f"with {token}" for token in used]
    said += ["a comma is the decimal point"] if as_comma and any("," in value for value in known) else []
    if words := [repr(value) for value in missing if value.strip()]:
        said.append(f"{', '.join(words[:3])} {'is' if len(words) == 1 else 'are'} missing")
    said += [f"{others} values that are no numbers are missing"] if others else []
    return ", ".join(said)
