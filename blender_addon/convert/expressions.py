"""Driver expressions of one variable as functions, without running any foreign code: a small interpreter of
arithmetic, comparisons and Blender's own driver functions. Anything else is refused in words."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

LONGEST = 500  # letters of an expression


class NotUnderstood(ValueError):
    """The expression is more than arithmetic on one variable."""


def _clamp(x: float, low: float = 0.0, high: float = 1.0) -> float:
    return min(max(x, low), high)


def _lerp(a: float, b: float, share: float) -> float:
    return a + share * (b - a)


def _smoothstep(low: float, high: float, x: float) -> float:
    u = _clamp((x - low) / (high - low)) if high != low else float(x >= high)
    return u * u * (3 - 2 * u)


_FUNCTIONS: dict[str, Callable[..., float]] = {
    "min": min, "max": max, "abs": abs, "clamp": _clamp, "lerp": _lerp, "smoothstep": _smoothstep, "float": float,
    "int": int, "bool": bool, "round": round, "pow": pow, "sqrt": math.sqrt, "sin": math.sin, "cos": math.cos,
    "tan": math.tan, "asin": math.asin, "acos": math.acos, "atan": math.atan, "atan2": math.atan2,
    "radians": math.radians, "degrees": math.degrees, "exp": math.exp, "log": math.log, "floor": math.floor,
    "ceil": math.ceil, "fabs": math.fabs, "fmod": math.fmod,
}  # fmt: skip
_CONSTANTS = {"pi": math.pi, "e": math.e, "tau": math.tau, "True": 1.0, "False": 0.0}
_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow, ast.Mod: operator.mod, ast.FloorDiv: operator.floordiv,
}  # fmt: skip
_UNARY: dict[type, Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg, ast.Not: operator.not_}
_COMPARE: dict[type, Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}  # fmt: skip


def function_of(expression: str, variable: str) -> Callable[[float], float]:
    """The expression as a function of its one variable. Raises NotUnderstood for anything but arithmetic.

    >>> function_of("max(0, 2 * smile - 0.1)", "smile")(0.3)
    0.5
    """
    if len(expression) > LONGEST:
        raise NotUnderstood("it is very long")
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError):
        raise NotUnderstood("it is no formula") from None

    def value(x: float) -> float:
        try:
            return float(_number(tree, variable, x))
        except (ZeroDivisionError, OverflowError, ValueError, TypeError) as error:
            if isinstance(error, NotUnderstood):
                raise
            return 0.0  # as Blender shows a driver that fails

    value(0.0)
    return value


def _number(node: ast.AST, variable: str, x: float) -> Any:
    def of(part: ast.AST) -> Any:
        return _number(part, variable, x)

    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.Name):
        if node.id == variable:
            return x
        if node.id in _CONSTANTS:
            return _CONSTANTS[node.id]
        raise NotUnderstood(f"it uses '{node.id}'")
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        left, right = of(node.left), of(node.right)
        if isinstance(node.op, ast.Pow) and abs(right) > 64:
            raise NotUnderstood("it holds a huge power")
        return _BINARY[type(node.op)](left, right)
    if isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
        return _UNARY[type(node.op)](of(node.operand))
    if isinstance(node, ast.IfExp):
        chosen, other = (of(node.body), of(node.orelse))
        return chosen if of(node.test) else other
    if isinstance(node, ast.BoolOp):
        values = [of(v) for v in node.values]
        return all(values) if isinstance(node.op, ast.And) else any(values)
    if isinstance(node, ast.Compare) and all(type(op) in _COMPARE for op in node.ops):
        values = [of(v) for v in (node.left, *node.comparators)]
        return all(_COMPARE[type(op)](a, b) for op, a, b in zip(node.ops, values, values[1:], strict=False))
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        plain = isinstance(node.func, ast.Name) or getattr(getattr(node.func, "value", None), "id", "") == "math"
        if not plain or name not in _FUNCTIONS or node.keywords:
            raise NotUnderstood(f"it calls '{name}'")
        return _FUNCTIONS[name](*(of(a) for a in node.args))
    raise NotUnderstood(f"it holds a {type(node).__name__}")
