"""Expressions of Liquid templates that look up and compare as Segment's engine does. Needs python-liquid.

Each class takes the place of one of python-liquid's, on a parsed expression; they have the same slots.
"""

from __future__ import annotations

from typing import Any, Final

from liquid.builtin.expressions import logical, path, primitive
from liquid.exceptions import LiquidSyntaxError
from liquid.expression import Expression

from connector.language.javascript import UNDEFINED
from connector.language.liquid.values import contains, is_blank, is_empty, is_yes, less, member, numbers, same
from connector.messages import Json


class Path(path.Path):
    __slots__ = ()

    def evaluate(self, context: Any) -> Json:
        root, *steps = [one.evaluate(context) if isinstance(one, Expression) else one for one in self.path]
        scope = context.locals if root in context.locals else context.globals
        value = scope.get(root, UNDEFINED) if isinstance(root, str) else UNDEFINED
        for step in steps:
            value = member(value, step)
        return value


class Range(primitive.RangeLiteral):
    __slots__ = ()

    def evaluate(self, context: Any) -> Any:
        return numbers(self.start.evaluate(context), self.stop.evaluate(context))


class Boolean(logical.BooleanExpression):
    __slots__ = ()

    def evaluate(self, context: Any) -> bool:
        return is_yes(self.expression.evaluate(context))


class And(logical.LogicalAndExpression):
    __slots__ = ()

    def evaluate(self, context: Any) -> bool:
        return is_yes(self.left.evaluate(context)) and is_yes(self.right.evaluate(context))


class Or(logical.LogicalOrExpression):
    __slots__ = ()

    def evaluate(self, context: Any) -> bool:
        return is_yes(self.left.evaluate(context)) or is_yes(self.right.evaluate(context))


class Not(logical.LogicalNotExpression):
    """Not the first of what ``and`` and ``or`` join: python-liquid reads ``not a and b`` as ``not (a and b)``."""

    __slots__ = ()

    def evaluate(self, context: Any) -> bool:
        return self._negated(self.right, context)

    def _negated(self, expression: Any, context: Any) -> bool:
        if isinstance(expression, And):
            return self._negated(expression.left, context) and is_yes(expression.right.evaluate(context))
        if isinstance(expression, Or):
            return self._negated(expression.left, context) or is_yes(expression.right.evaluate(context))
        return not is_yes(expression.evaluate(context))


def _equal(one: Any, other: Any, context: Any) -> bool:
    """``==``, where nil, empty and blank on either side ask something of the other."""
    for word, operand in ((one, other), (other, one)):
        if isinstance(word, primitive.Nil | primitive.Empty | primitive.Blank):
            if isinstance(operand, primitive.Empty | primitive.Blank):
                return False
            value = operand.evaluate(context)
            if isinstance(word, primitive.Nil):
                return value is None or value is UNDEFINED
            return is_empty(value) if isinstance(word, primitive.Empty) else is_blank(value)
    return same(one.evaluate(context), other.evaluate(context))


def _less(one: Any, other: Any, context: Any, or_same: bool) -> bool:
    words = primitive.Nil | primitive.Empty | primitive.Blank
    if isinstance(one, words) or isinstance(other, words):
        return False
    return less(one.evaluate(context), other.evaluate(context), or_same)


class Eq(logical.EqExpression):
    __slots__ = ()

    def evaluate(self, context: Any) -> bool:
        return _equal(self.left, self.right, context)


class Ne(logical.NeExpression):
    __slots__ = ()

    def evaluate(self, context: Any) -> bool:
        return not _equal(self.left, self.right, context)


class Lt(logical.LtExpression):
    __slots__ = ()

    def evaluate(self, context: Any) -> bool:
        return _less(self.left, self.right, context, or_same=False)


class Gt(logical.GtExpression):
    __slots__ = ()

    def evaluate(self, context: Any) -> bool:
        return _less(self.right, self.left, context, or_same=False)


class Le(logical.LeExpression):
    __slots__ = ()

    def evaluate(self, context: Any) -> bool:
        return _less(self.left, self.right, context, or_same=True)


class Ge(logical.GeExpression):
    __slots__ = ()

    def evaluate(self, context: Any) -> bool:
        return _less(self.right, self.left, context, or_same=True)


class Contains(logical.ContainsExpression):
    __slots__ = ()

    def evaluate(self, context: Any) -> bool:
        value = self.left.evaluate(context)
        if isinstance(value, list) and isinstance(self.right, primitive.Empty | primitive.Blank):
            return any(map(is_empty if isinstance(self.right, primitive.Empty) else is_blank, value))
        return contains(value, self.right.evaluate(context))


class Empty(primitive.Empty):
    __slots__ = ()

    def evaluate(self, _context: object) -> Any:
        return ""


class Blank(primitive.Blank):
    __slots__ = ()

    def evaluate(self, _context: object) -> Any:
        return ""


OURS: Final[dict[type, type]] = {
    one.__bases__[0]: one
    for one in (Path, Range, Boolean, And, Or, Not, Eq, Ne, Lt, Gt, Le, Ge, Contains, Empty, Blank)
}


def adapt(expression: Expression) -> None:
    """Makes an expression, and all that it is made of, one of ours.

    Raises: LiquidSyntaxError for a backslash in a text, which means something at Segment and nothing here.
    """
    if isinstance(expression, primitive.StringLiteral) and "\\" in expression.value:
        raise LiquidSyntaxError("a text in quotes cannot hold a backslash here", token=expression.token)
    ours = OURS.get(type(expression))
    if ours is not None:
        expression.__class__ = ours
    for one in expression.children():
        adapt(one)
