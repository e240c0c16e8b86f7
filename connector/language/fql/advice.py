"""The sentences of a refusal: what is there, what Segment makes of it, what to write instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from connector.language.fql.lexer import Token

_FIELDS: Final = "type, event, name, userId, properties.…, traits.… and context.…"

MIXED: Final = (
    '"and" and "or" are mixed on one level. Segment knows no precedence: the last one would rule the whole level. Put'
    " parentheses around the conditions that belong together"
)
NESTED: Final = (
    "a group stands inside of a group. Segment cannot parse that, and the filter would match nothing. Use one level of"
    " parentheses, or several mappings"
)
UNCLOSED: Final = (
    "this parenthesis is never closed. Segment cannot parse that, and the filter would match nothing. Close it with )"
)
FUNCTION_IN_GROUP: Final = (
    "a function stands inside of a group. Segment would take the function's closing parenthesis for the group's, and"
    ' what follows would slip out of the group. Write it outside of parentheses, joined by one kind of "and" or "or",'
    " or use several mappings"
)
NEGATED: Final = (
    "! stands only before contains( and match(. Segment would pass over it, and the condition would count as if it were"
    " not negated. Write != in the comparison, or turn the conditions around"
)
ORDERED_TEXT: Final = (
    "a text is compared by size. Segment compares only numbers so, and never a text of the event. Write a number"
    " without quotes, or = or != before a text"
)
ORDERED_WORD: Final = (
    "null, true and false have no size. Segment would compare with them as with a number, or match nothing. Write ="
    " before true or false, and = or != before null"
)
UNLIKE_TRUE: Final = (
    '!= before true or false. Segment would compare with the text "true" or "false", so that everything else matches,'
    " true and false themselves included. Write = and the opposite"
)
SHAPE: Final = (
    'expected {name}(field, "text"). Segment would not look at the shape, and take whatever stands in these places.'
    " Write {name}(, a field, a comma, a text in double quotes, and )"
)
TYPE_IN_FUNCTION: Final = (
    'a function looks at type. Segment would drop this condition without a word. Write type = "track"'
)
PATTERN: Final = (
    "a pattern has one star, at its beginning or its end. Segment would take the others as they are, and drop the first"
    ' character where no star is last. Write "text*" or "*text"; for a text anywhere use contains(), for a whole one ='
)
ESCAPED: Final = (
    "a name has a dot or a bracket behind a backslash. Segment would take it for a step of the path all the same, and"
    " cannot reach a key that has one. Write the steps with dots; a number as a step has a backslash, as in"
    " properties.items.\\0.price"
)
SINGLE_QUOTES: Final = (
    "a text is in single quotes. Segment would keep the quotes as part of the text, and it would match nothing that"
    " you mean. Use double quotes"
)
GLUED: Final = (
    "something stands right behind a closing quote. Segment would open the next text with that quote. Put a space there"
)
_UNKNOWN: Final = "Segment passes over words it does not know as if they were not there"
_EMPTY: Final = (
    "a condition is missing here. Segment would match nothing, or drop what stands alone. Write a condition such as"
    ' type = "track"'
)
_STEP: Final = (
    "a path goes on with something that Segment does not take for a name, and the condition would never hold. Write a"
    " backslash before a step that is a number or one of and, or, null, and before signs in a name, as in"
    " properties.items.\\0.price"
)


def on_unreadable(text: str, at: int) -> str:
    """What to write instead of something that Segment cannot parse."""
    nothing = ". Segment cannot parse that, and the filter would match nothing"
    meant: Mapping[str, str] = {
        "&": 'Write "and"',
        "|": 'Write "or"',
        "\r": "End the lines with a line feed alone",
        "!": "Put a space behind !=",
        "<": "Put a space on both sides of <",
        ">": "Put a space on both sides of >",
        "[": "Write an index as a step of the path, with a backslash, as in properties.items.\\0.price",
        '"': "Close the quote, and put a space before it",
        "'": "Use double quotes, in pairs",
    }
    return (
        f"{nothing}. {meant.get(text[at : at + 1], 'Put texts in double quotes and a backslash before signs in names')}"
    )


def on_unjoined(token: Token) -> str:
    """Something follows a whole condition that does not join it with the next one."""
    if token.kind == "ident" and token.value in ("and", "or"):
        return (
            f'something stands right behind "{token.value}". Segment would not see the word, and join by "and". Put a'
            " space there"
        )
    if token.kind == "ident" and token.value.lower() in ("and", "or"):
        return f'"{token.value}" is in capitals. {_UNKNOWN}, and joins by "and". Write it in small letters'
    if token.kind == "parenright":
        return "this parenthesis closes nothing. Segment would pass over it. Take it away"
    return (
        f'two conditions have to be joined by "and" or "or". {_UNKNOWN}, and joins by "and". Write one of the two'
        " between them"
    )


def on_no_condition(token: Token) -> str:
    """Something stands where a condition should begin."""
    if token.kind in ("eos", "parenright", "conditional"):
        return _EMPTY
    return (
        f"a condition begins with a field. {_UNKNOWN}, and would go on with what follows. Write the field before the"
        f" operator; there are {_FIELDS}"
    )


def on_operator(token: Token) -> str:
    """Something stands behind a field that is no operator."""
    if token.kind in ("dot", "brackleft"):
        return _STEP
    never = "Segment would take any word for an operator, and with most of them the condition never holds"
    if token.kind == "ident" and token.value in ("contains", "match"):
        return f'{token.value} stands behind the field. {never}. Write {token.value}(field, "text")'
    if token.kind == "ident" and token.value.lower() == "in":
        return f'"in" is no operator. {never}. Write one comparison for each value, joined by "or"'
    return f"one of = != < <= > >= is missing behind the field. {never}. Write field = value"


def on_value(token: Token) -> str:
    """Something stands behind an operator that is no value."""
    if token.kind == "operator":
        return (
            "two operators follow each other. Segment would compare with the second one as a text. Write a single =,"
            " and put a space behind != <= and >="
        )
    if token.kind == "number":
        return (
            "this is no number to compare with. Segment would do so all the same, and nothing compares with it. Write"
            " digits, with a decimal point if needed"
        )
    return (
        "a value is missing. Segment would take any word, or the end of the filter, for a text. Write a text in double"
        " quotes, a number, true, false or null"
    )


def on_text_field(field: str) -> str:
    """A number, true or false is compared with a field that is a text."""
    return (
        f"{field} is a text, and is compared with something else. Segment would compare with the text that JavaScript"
        " makes of it, which is 7 for 007, or match nothing. Write the value in double quotes"
    )


def on_null(field: str) -> str:
    """The two fields that Segment's parser does not compare with null."""
    return (
        f'{field} is compared with null. Segment would compare it with the text "null", so that = never holds and !='
        ' always. Write a comparison of type, such as type = "track" for the events that have a name'
    )


def on_field(token: Token, following: Token) -> str:
    """A word that is no field."""
    if token.value.lower() == "not":
        return (
            f'"not" is no word of a filter. {_UNKNOWN}, and the condition would count as if it were not negated. Write'
            " != in the comparison, or !contains( and !match("
        )
    if following.kind == "parenleft":
        return f"there are no functions but contains() and match(). {_UNKNOWN}. Write one of the two, or a comparison"
    return f"there is no such field. {_UNKNOWN}, and the condition would be dropped. There are {_FIELDS}"


def on_object(field: str, following: Token) -> str:
    """A whole object stands where a path in it is meant."""
    if following.kind in ("dot", "brackleft"):
        return _STEP
    return f"{field} stands alone. Segment would look for {field}.{field}. Write {field}. and the name of what you mean"
