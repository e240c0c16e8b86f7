"""The mapping language: what a value in a mapping file may be, compiled once into plain functions.

Directives with ``@`` are Segment's mapping-kit and do what it does, its oddities too; ``@x-…`` are ours (``own``), and
may stand wherever a directive may. At the top of a field a list is values to try, a text among them a path; inside
Segment's directives a list is an array and a text a text. The rooms, lowest floor first::

    javascript   undefined, truthiness, String(x): what Python does otherwise
    paths        $.a.b[0]
    nodes        compiled parts, objects and arrays of them
    liquid       @liquid, with an optional extra
    text, objects, kit
                 Segment's directives
    checks       what is wrong with a mapping, all of it, in Segment's words
    own          our directives
    values       compile_value, alternatives, apply_fields for fields; compile_mapping for whole mappings
    oddities     what in a mapping does something else than it looks like
    fql          filters, a language of its own on the two lowest floors

A compiled function raises nothing but MappingError, and that only where Segment's would throw.

Source: https://github.com/segmentio/action-destinations/tree/main/packages/core/src/mapping-kit
"""

from __future__ import annotations

from connector.errors import MappingError
from connector.language.javascript import UNDEFINED, Value
from connector.language.values import alternatives, apply_fields, compile_mapping, compile_value

__all__ = [
    "UNDEFINED",
    "MappingError",
    "Value",
    "alternatives",
    "apply_fields",
    "compile_mapping",
    "compile_value",
]
