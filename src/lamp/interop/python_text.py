"""Formulas, arrays and names as text of a Python file that needs only numpy."""

from __future__ import annotations

import base64
import re
import textwrap
from collections.abc import Iterator
from itertools import count
from keyword import iskeyword
from string import ascii_lowercase
from typing import Any

import numpy as np

from lamp.interop.expressions import Expression, in_order

FEW = 64  # arrays of up to so many numbers are written out, larger ones as base64
WIDTH = 100  # characters of a line

INFIX = {  # operation of an Expression: its operator, and the operator's precedence
    "lt": ("<", 1), "le": ("<=", 1), "gt": (">", 1), "ge": (">=", 1), "eq": ("==", 1), "ne": ("!=", 1),
    "or": ("|", 2), "and": ("&", 3), "add": ("+", 4), "sub": ("-", 4), "mul": ("*", 5), "div": ("/", 5),
}  # fmt: skip
MINUS, WHOLE = 6, 9  # precedences: of a leading minus, and of text that never needs parentheses
LACKING = ("sigmoid", "erf")  # functions that numpy lacks, see COMPOSED
FUNCTIONS = {
    **{name: f"np.{name}" for name in ("where", "clip", "maximum", "minimum", "abs", "sign", "sqrt")},
    **{name: f"np.{name}" for name in ("exp", "expm1", "log", "log1p", "tanh")},
    **{name: name for name in LACKING},
}

Text = tuple[str, int]  # a text and its precedence


def is_one_operation(result: Expression) -> bool:
    """Whether a formula has at most one operation, so that it needs no function."""
    return sum(each.operation != "name" for each in in_order(result)) <= 1


def expression_text(result: Expression) -> tuple[list[str], str]:
    """An expression as Python: lines that name parts which are used several times, and the text of the result."""
    lines, (text,) = expression_texts(result)
    return lines, text


def expression_texts(*results: Expression) -> tuple[list[str], list[str]]:
    """Several expressions of the same names likewise."""
    everything = in_order(*results)
    outcomes = {id(result) for result in results}
    uses: dict[int, int] = {}
    for each in everything:
        for operand in each.operands:
            uses[id(operand)] = uses.get(id(operand), 0) + 1
    given = {each.operands[0] for each in everything if each.operation == "name"}
    names = _letters(given)
    texts: dict[int, Text] = {}
    lines = []
    for each in everything:
        text = _operation_text(each, texts)
        if each.operation != "name" and uses.get(id(each), 0) + (id(each) in outcomes) > 1:
            name = next(names)
            lines.append(f"{name} = {text[0]}")
            text = name, WHOLE
        texts[id(each)] = text
    return lines, [texts[id(result)][0] for result in results]


def functions_used(result: Expression) -> set[str]:
    """The functions in the expression that numpy lacks."""
    return {each.operation for each in in_order(result) if each.operation in LACKING}


def _operation_text(each: Expression, texts: dict[int, Text]) -> Text:
    if each.operation == "name":
        return each.operands[0], WHOLE
    operands = [texts[id(x)] if isinstance(x, Expression) else _number_text(x) for x in each.operands]
    if each.operation == "neg":
        return f"-{_within(operands[0], MINUS)}", MINUS
    if each.operation in INFIX:
        sign, binds = INFIX[each.operation]
        if each.operation == "add" and operands[1][1] == MINUS and not isinstance(each.operands[1], Expression):
            sign, operands[1] = "-", _number_text(-each.operands[1])
        left, right = _within(operands[0], binds), _within(operands[1], binds + 1)
        return f"{left} {sign} {right}", binds
    return f"{FUNCTIONS[each.operation]}({', '.join(text for text, _ in operands)})", WHOLE


def _within(text: Text, binds: int) -> str:
    return text[0] if text[1] >= binds else f"({text[0]})"


def _number_text(value: float) -> Text:
    if not np.isfinite(value):
        return ("np.nan", WHOLE) if value != value else ("np.inf", WHOLE) if value > 0 else ("-np.inf", MINUS)
    return repr(value), WHOLE if value >= 0 else MINUS


def _letters(taken: set[str]) -> Iterator[str]:
    """Names for parts of a formula: a, b, c, ..."""
    for k in count():
        for letter in ascii_lowercase:
            if (name := letter if k == 0 else f"{letter}{k}") not in taken:
                yield name


# ---- names, arrays and texts -----------------------------------------------------------------------------------------
def identifier(text: str, taken: set[str]) -> str:
    """A new Python name similar to the text. It is added to the set of names that are taken."""
    name = re.sub(r"[^0-9a-z_]+", "_", text.lower()).strip("_") or "unnamed"
    if name[0].isdigit() or iskeyword(name):
        name = f"_{name}"
    unique, k = name, 2
    while unique in taken:
        unique, k = f"{name}_{k}", k + 1
    taken.add(unique)
    return unique


def array_text(array: np.ndarray[Any, Any], dtype: str) -> str:
    """An array as Python: `np.array(...)` if it is small, else `stored("...", *shape)`."""
    whole = array.dtype.kind == "i"
    if array.size <= FEW or whole:
        dtype = str(array.dtype) if whole else dtype
        form: Any = {
            "float_kind": lambda x: (
                str(x) if np.isfinite(x) else str(x).replace("inf", "np.inf").replace("nan", "np.nan")
            )
        }
        numbers = np.array2string(array, separator=", ", formatter=form, max_line_width=WIDTH, threshold=array.size + 1)
        if "\n" not in numbers:
            return f"np.array({numbers}, dtype=np.{dtype})"
        lines = [line for line in numbers.split("\n") if line.strip()]
        return "np.array(\n    " + "\n    ".join(lines) + f",\n    dtype=np.{dtype},\n)"
    raw = base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode("ascii")
    return "\n".join(['stored("""', *textwrap.wrap(raw, WIDTH), f'""", {", ".join(map(str, array.shape))})'])


def returning(text: str) -> list[str]:
    """The lines of a return statement."""
    if len(text) <= WIDTH:
        return [f"return {text}"]
    lines = textwrap.wrap(text, WIDTH - 4, break_long_words=False, break_on_hyphens=False)
    return ["return (", *(f"    {line}" for line in lines), ")"]


def docstring(text: str) -> str:
    """The text as a docstring with its quotes, with special characters escaped."""
    shown = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
    return '"""' + shown.replace("\\", "\\\\").replace('"', '\\"') + '"""'
