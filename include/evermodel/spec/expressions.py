"""Formulas over the columns of a row, read from a text without running it."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

MOST_CHARACTERS = 500
_DEEPEST = 40
_QUOTED = re.compile(r"`([^`]+)`")
_OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/",
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
# Of each function the least and the most arguments.
FUNCTIONS = {
    "abs": (1, 1), "exp": (1, 1), "log": (1, 1), "log1p": (1, 1), "sqrt": (1, 1),
    "min": (2, 8), "max": (2, 8), "where": (3, 3),
}  # fmt: skip


@dataclass(frozen=True)
class FormulaNumber:
    """A constant."""

    value: float


@dataclass(frozen=True)
class FormulaColumn:
    """The value of a column."""

    name: str


@dataclass(frozen=True)
class FormulaCall:
    """An operator or one of `FUNCTIONS`, and what it is applied to; ``negative`` is a minus sign."""

    function: str
    arguments: tuple[FormulaPart, ...]


FormulaPart = FormulaNumber | FormulaColumn | FormulaCall


def check_formula(text: str) -> str:
    """Return a formula unchanged, or raise `ValueError`, which says what is wrong."""
    if not columns_of(parse_formula(text)):
        raise ValueError(f"the formula `{text}` names no column")
    return text


@lru_cache(1024)
def parse_formula(text: str) -> FormulaPart:
    """Read a formula: numbers, columns, ``+ - * /``, comparisons, brackets and `FUNCTIONS`.

    A column whose name is no word stands in backquotes. Nothing of the text is run.

    Raises
    ------
    ValueError
        It is something else.

    Examples
    --------
    >>> parse_formula("2 * fare")
    FormulaCall(function='*', arguments=(FormulaNumber(value=2.0), FormulaColumn(name='fare')))
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"a formula has at most {MOST_CHARACTERS} characters")
    mark = "column"
    while mark in text:
        mark += "_"
    quoted = _QUOTED.findall(text)
    names = {f"{mark}{number}": name for number, name in enumerate(quoted)}
    unquoted = iter(names)
    try:
        tree = ast.parse(_QUOTED.sub(lambda _: next(unquoted), text.strip()), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else "too deep"
        raise ValueError(
            f"`{text}` cannot be read as a formula ({reason}); a column whose name is no word stands in `backquotes`"
        ) from None
    return _Reader(names).part(tree.body, 0)


def columns_of(part: FormulaPart) -> list[str]:
    """Return the columns that a formula names, each once."""
    return list(dict.fromkeys(_columns(part)))


def _columns(part: FormulaPart) -> Iterator[str]:
    if isinstance(part, FormulaColumn):
        yield part.name
    elif isinstance(part, FormulaCall):
        for argument in part.arguments:
            yield from _columns(argument)


class _Reader:
    """Turns Python's syntax tree into a formula.

    Parameters
    ----------
    quoted
        What stands for columns in backquotes.
    """

    def __init__(self, quoted: dict[str, str]) -> None:
        self._quoted = quoted

    def part(self, node: ast.AST, depth: int) -> FormulaPart:
        """Read a node and what is in it."""
        if depth > _DEEPEST:
            raise ValueError("the formula is nested too deeply")
        if isinstance(node, ast.Constant):
            return FormulaNumber(_number(node.value))
        if isinstance(node, ast.Name):
            return FormulaColumn(self._quoted.get(node.id, node.id))
        function, inner = _call(node)
        return FormulaCall(function, tuple(self.part(one, depth + 1) for one in inner))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _call(node: ast.AST) -> tuple[str, list[ast.expr]]:
    """Return operator or function of a node, and its arguments."""
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)], [node.left, node.right]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return "negative", [node.operand]
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _OPERATORS:
        return _OPERATORS[type(node.ops[0])], [node.left, *node.comparators]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        return _function(node.func.id, node.args)
    raise ValueError(
        f"`{ast.unparse(node)[:60]}` cannot stand in a formula; it has columns, numbers, + - * /, comparisons, brackets and "
        f"the functions {', '.join(FUNCTIONS)}"
    )


def _function(name: str, arguments: list[ast.expr]) -> tuple[str, list[ast.expr]]:
    if name not in FUNCTIONS:
        raise ValueError(f"formulas have no function `{name}`; they have {', '.join(FUNCTIONS)}")
    least, most = FUNCTIONS[name]
    if not least <= len(arguments) <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        raise ValueError(f"`{name}` takes {wanted} arguments, not {len(arguments)}")
    return name, arguments
