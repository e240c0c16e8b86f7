"""``@liquid``: Liquid templates, read by python-liquid, an optional extra; what Segment switches off is switched off.

Segment's engine is liquidjs. What a template may do is done here as there (``values``, ``filters``, ``dates``,
``expressions``), in UTC; filters and tags that we do not have are refused when a mapping is compiled. What stays
different: tags and operators as python-liquid reads them (no operators inside ``{{ }}``), a time that is neither ISO
8601 nor one of a few common ways raises, and a text is split by characters where liquidjs splits by UTF-16 units.

Without loops a template of 1,000 characters can apply some hundred filters at most; none of them is given, or makes,
more than ``LONGEST`` characters or items, and no range is longer, so that memory and time are bounded whatever the
payload is.

Source: https://github.com/segmentio/action-destinations/blob/main/packages/core/src/mapping-kit/liquid-directive.ts
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from inspect import signature
from typing import TYPE_CHECKING, Any, Final, NoReturn

from connector.errors import MappingError
from connector.language.javascript import Value, length
from connector.language.liquid.filters import FILTERS
from connector.language.liquid.values import refuse, written
from connector.language.nodes import Place
from connector.messages import Json

if TYPE_CHECKING:
    from liquid import BoundTemplate, Environment

LONGEST_TEMPLATE: Final = 1_000
LONGEST_OUTPUT: Final = 1_000_000
TAGS: Final = frozenset({"case", "for", "include", "layout", "render", "tablerow"})
DISABLED: Final = frozenset(
    {"array_to_sentence_string", "concat", "find", "find_exp", "find_index", "find_index_exp", "group_by"}
    | {"group_by_exp", "has", "has_exp", "map", "newline_to_br", "reject", "reject_exp", "reverse", "sort"}
    | {"sort_natural", "uniq", "where_exp", "type"}
)
"""What Segment disables, beside the tags."""
ELSEWHERE: Final = frozenset({"break", "continue", "cycle", "decrement", "doc", "ifchanged", "increment"})
"""Tags that liquidjs does not know, that say nothing without loops, or that count otherwise there."""


def compile_liquid(source: str, place: Place) -> Value:
    """The function that fills a template in.

    Raises: MappingError for a template that cannot be used, or if python-liquid is not installed.
    """
    if length(source) > LONGEST_TEMPLATE:
        raise place.error(f"liquid template values are limited to {LONGEST_TEMPLATE} characters")
    if not source:
        return lambda _payload: ""
    template = _parsed(source, place)

    def render(payload: Json) -> str:
        try:
            return template.render(payload if isinstance(payload, dict) else {})
        except MappingError as error:
            raise place.error(str(error)) from None
        except Exception as error:  # any class can come out of it, and its words may quote the payload
            raise place.error(f"cannot be filled in from this payload ({type(error).__name__})") from None

    return render


def _parsed(source: str, place: Place) -> BoundTemplate:
    try:
        from liquid.exceptions import LiquidError
    except ImportError:
        raise place.error("needs Liquid templates: pip install connector-cdp[liquid]") from None
    environment = _environment()
    try:
        template = environment.from_string(source)
        used = template.analyze(include_partials=False).filters
        _as_segment_has_it(template)
    except (LiquidError, RecursionError) as error:
        said = str(error.args[0]) if error.args else type(error).__name__
        raise place.error(f"is no Liquid template: {said}") from None
    for name in used:
        if name in DISABLED:
            raise place.error(f'filter "{name}" is disabled')
        if name not in environment.filters:  # Segment's engine leaves the value as it is
            raise place.error(f'filter "{name}" is unknown')
    return template


def _as_segment_has_it(template: BoundTemplate) -> None:
    """Gives every expression our way of looking up and comparing: python-liquid has no setting for that."""
    from liquid import RenderContext

    from connector.language.liquid.expressions import adapt

    context = RenderContext(template)

    def below(nodes: Iterable[Any]) -> None:
        for node in nodes:
            for expression in node.expressions():
                adapt(expression)
            below(node.children(context, include_partials=False))

    below(template.nodes)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """The engine, made once: importing it takes longer than starting without it."""
    from liquid import Environment, Tag, TokenStream
    from liquid.builtin.output import Output, OutputNode
    from liquid.builtin.tags.echo_tag import EchoNode, EchoTag
    from liquid.exceptions import LiquidSyntaxError

    class Written(OutputNode):
        def render_to_output(self, context: Any, buffer: Any) -> int:
            return int(buffer.write(written(self.expression.evaluate(context))))

    class WrittenEcho(EchoNode):
        render_to_output = Written.render_to_output

    class OurOutput(Output):
        node_class = Written

    class OurEcho(EchoTag):
        node_class = WrittenEcho

    class Disabled(Tag):
        def parse(self, stream: TokenStream) -> NoReturn:
            raise LiquidSyntaxError(f'tag "{stream.current.value}" is disabled', token=stream.current)

    class Bounded(Environment):
        output_stream_limit = LONGEST_OUTPUT
        local_namespace_limit = 10 * LONGEST_OUTPUT
        logical_not_operator = True

    environment = Bounded()
    environment.add_tag(OurOutput)
    environment.add_tag(OurEcho)
    for name in ELSEWHERE:
        del environment.tags[name]
    environment.tags |= {name: Disabled(environment) for name in TAGS}
    environment.filters = {name: _bounded(name, apply) for name, apply in FILTERS.items()}
    return environment


def _bounded(name: str, apply: Callable[..., Json]) -> Callable[..., Json]:
    """A filter that refuses what is too long, and does not look at arguments that it does not know."""
    takes = signature(apply).parameters
    many = any(one.kind is one.VAR_POSITIONAL for one in takes.values())
    count = None if many else sum(one.kind is one.POSITIONAL_OR_KEYWORD for one in takes.values()) - 1

    def run(value: Json, *others: Json, **named: Json) -> Json:
        for one in (value, *others):
            refuse(one)
        if others and name in ("json", "jsonify", "inspect"):
            raise MappingError(f'cannot indent: leave the argument of "{name}" out')
        result = apply(
            value, *others[:count], **{key: one for key, one in named.items() if key == "allow_false" in takes}
        )
        refuse(result)
        return result

    return run
