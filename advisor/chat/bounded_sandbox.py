"""A bound on what a chat template may do: a template is a program, and it comes with a model from anywhere.

jinja2's sandbox keeps a template from the machine, but not from looping for ever or from filling the memory.
Here every turn of a loop and every call of a macro is counted, every text, list and number that is made is
charged by its bytes, products are refused before they are computed, and the processor's time of the rendering
thread ends the rest. Nothing depends on signals, so it holds in every thread.

A chat of 128k tokens is about half a megabyte of text and at most some ten thousand messages: the bounds
leave it two hundred times that for one text, and two thousand times for all texts that are made on the way.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import update_wrapper
from types import BuiltinMethodType, MethodType
from typing import Any

from jinja2 import Template, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

TURNS = 3_000_000
"""Turns of loops and calls of macros in one rendering."""
ONE = 100_000_000
"""Bytes of one value: of a text, or of all that a list holds."""
ALL = 1_000_000_000
"""Bytes of all values that are made in one rendering."""
SECONDS = 60.0
"""Processor time of one rendering."""
WIDTH = 1_000_000
"""Characters to which a text may be padded."""
BITS = 1_000_000
"""Of a whole number."""
PLACES = 1_000
"""Decimal places to which a number may be rounded."""

STRUCTURAL = frozenset((
    "length", "count", "first", "last", "default", "d", "list", "map", "select", "reject", "selectattr",
    "rejectattr", "items", "dictsort", "reverse", "random", "min", "max", "unique", "attr", "sort", "safe",
    "int", "float", "abs", "round",
))  # fmt: skip
"""Filters that make no text of what they are given."""
PADDED = frozenset(("ljust", "rjust", "center", "zfill", "to_bytes"))
_CONTAINERS: Any = list | tuple | dict | set | frozenset
_WIDE = re.compile(r"\d{7}")
_NUMBER = re.compile(r"\d+")
_NESTED = re.compile(r"\{[^{}]*\{")


class TooMuchWork(SecurityError):
    """A template that goes beyond a bound; its message is one line."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the chat template does too much work ({what}); it may never end: correct it, or give another "
            "with --chat_template FILE"
        )


class _Spent(threading.local):
    """What the rendering of this thread has used."""

    turns = 0
    size = 0
    calls = 0
    deadline = float("inf")

    def begin(self) -> None:
        self.turns = self.size = 0
        self.deadline = time.thread_time() + SECONDS

    def work(self, turns: int, size: int) -> None:
        """Raises TooMuchWork where a bound is passed."""
        self.turns += turns
        self.size += size
        if self.turns > TURNS:
            raise TooMuchWork(f"over {TURNS:,} turns of loops")
        if self.size > ALL:
            raise TooMuchWork(f"over {ALL:,} bytes of text")
        self.calls += 1
        if not self.calls % 32 and time.thread_time() > self.deadline:  # the clock is slow to read
            raise TooMuchWork(f"over {SECONDS:.0f} seconds")


_spent = _Spent()


def _allow(size: float) -> None:
    if size > ONE:
        raise TooMuchWork(f"a text or list of over {ONE:,} bytes")


def _weight(value: object) -> int:
    """Bytes of a value and of all it holds, what it holds twice counted twice; stops beyond the bound."""
    total, left = 0, [value]
    while left:
        one = left.pop()
        total += sys.getsizeof(one) if isinstance(one, str | int | bytes | _CONTAINERS) else 64
        _allow(total)
        if isinstance(one, Mapping):
            left += [*one.keys(), *one.values()]
        elif isinstance(one, _CONTAINERS):
            left += one
    return total


def _made(value: Any) -> Any:
    """A value that is new, charged."""
    _spent.work(
        0, sys.getsizeof(value) if isinstance(value, str | bytes | int | _CONTAINERS) else 0
    )
    return value


def _multiplied(left: Any, right: Any) -> None:
    for one, times in ((left, right), (right, left)):
        if isinstance(one, str | bytes | list | tuple) and isinstance(times, int):
            _allow(_weight(one) * times)
    if isinstance(left, int) and isinstance(right, int):
        _number(left.bit_length() + right.bit_length())


def _number(bits: int) -> None:
    if bits > BITS:
        raise TooMuchWork(f"a number of over {BITS:,} bits")


def _filled(pattern: str, values: Any, sign: str, *, widths: bool) -> None:
    """Refuses a formatted text that would be too long; `widths`: they may stand among the values."""
    fields = max(1, pattern.count(sign))
    widest = max([0, *_numbers(values)]) if widths else 0
    if _WIDE.search(pattern) or widest > WIDTH:
        raise TooMuchWork(f"a text padded to over {WIDTH:,} characters")
    # Every number in the pattern may be a width or a precision: many small ones make a long text, too.
    padding = sum(map(int, _NUMBER.findall(pattern))) + fields * widest
    _allow(len(pattern) + padding + fields * _weight(values))


def _numbers(value: Any) -> Iterator[int]:
    if isinstance(value, int):
        yield value
    inner = value.values() if isinstance(value, Mapping) else value
    for one in inner if isinstance(value, _CONTAINERS) else ():
        yield from _numbers(one)


def _replaced(text: Any, old: Any = "", new: Any = "", *_: object) -> None:
    if isinstance(text, str):
        old, new = str(old), str(new)
    _allow(len(text) + (text.count(old) if old else len(text) + 1) * len(new))


def _method(
    method: BuiltinMethodType | MethodType, args: tuple[Any, ...], given: dict[str, Any]
) -> tuple[Any, ...]:
    """The arguments of a text's or a number's method, after a look at what would come of them."""
    own, name = method.__self__, method.__name__
    if name in PADDED and any(width > WIDTH for width in _numbers([*args, *given.values()])):
        raise TooMuchWork(f"a text padded to over {WIDTH:,} characters")
    if not isinstance(own, str | bytes):
        return args
    if name == "expandtabs":
        tabs = own.count("\t") if isinstance(own, str) else own.count(b"\t")
        _allow(len(own) + tabs * max([8, *_numbers([*args, *given.values()])]))
    elif name == "translate" and isinstance(own, str):
        _allow(len(own) * max([1, *(len(str(v)) for v in dict(*args).values())]))
    elif name == "replace":
        _replaced(own, *args, *given.values())
    elif name == "join" and args:
        args = (list(args[0]),)
        _allow(_weight(args[0]) + len(own) * len(args[0]))
    return args


def _before_filter(name: str, args: list[Any], given: dict[str, Any]) -> None:
    """Refuses what a filter would make too long; `args[0]` is what it is applied to."""
    others = [*args[1:], *given.values()]
    sized = name in ("batch", "slice", "center", "indent", "tojson")
    if sized and any(width > WIDTH for width in _numbers(others)):
        raise TooMuchWork(f"the filter {name} with over {WIDTH:,}")
    if name == "join":
        args[0] = list(args[0])
        _allow(_weight(args[0]) + len(args[0]) * _weight(others))
    elif name == "format":
        _filled(str(args[0]), others, "%", widths="*" in str(args[0]))
    elif name == "replace":
        _weight(args[0])
        _replaced(str(args[0]), *others)
    else:
        size = _weight(args[0])
        wide = [len(o) for o in others if isinstance(o, str)]
        if name in ("indent", "tojson", "slice"):
            wide += _numbers(others)
        if name in ("indent", "tojson", "wordwrap", "urlize", "truncate", "xmlattr"):
            _allow(
                size * max([1, *wide]) if name != "indent" else _lines(args[0]) * max([1, *wide])
            )


def _lines(text: object) -> int:
    return str(text).count("\n") + 1


class _Filters(dict[str, Callable[..., Any]]):
    """Filters that are bounded, those too that are put in later."""

    def __setitem__(self, name: str, function: Callable[..., Any]) -> None:
        super().__setitem__(name, _bounded(name, function))


def _bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    skip = (
        1 if hasattr(function, "jinja_pass_arg") else 0
    )  # the context or the environment comes first

    def filtered(*args: Any, **given: Any) -> Any:
        _spent.work(1, 0)
        own = list(args)
        if name == "round" and any(abs(n) > PLACES for n in _numbers([*own[1:], *given.values()])):
            raise TooMuchWork(f"a number rounded to over {PLACES:,} places")
        if name not in STRUCTURAL and len(own) > skip:
            rest = own[skip:]
            _before_filter(name, rest, given)
            own[skip:] = rest
        found = function(*own, **given)
        if name in ("batch", "slice", "groupby"):
            found = list(found)
            _weight(found)
        return found if name in ("default", "d", "first", "last") else _made(found)

    return update_wrapper(filtered, function)


class _BoundedTemplate(Template):
    """A template whose every rendering begins with nothing spent."""

    def new_context(self, *args: Any, **given: Any) -> Context:
        _spent.begin()
        return super().new_context(*args, **given)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """jinja2's sandbox with the bounds of this file."""

    template_class = _BoundedTemplate
    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        # Constants are computed as the rest is, at the time when it is counted.
        self.optimized = False
        self.finalize = pass_context(lambda _, value: self.weighed(value))
        self.filters = _Filters({name: _bounded(name, f) for name, f in self.filters.items()})
        self.globals.pop("lipsum", None)

    def turn(self, size: int) -> bool:
        """One turn of a loop or call of a macro, which writes so many bytes of fixed text; always true."""
        _spent.work(1, size)
        return True

    def weighed(self, value: Any) -> Any:
        """A value that is about to become text."""
        if isinstance(value, _CONTAINERS):
            _spent.work(0, _weight(value))
        else:
            _made(value)
        return value

    def built(self, value: Any) -> Any:
        """A new list, tuple or dictionary."""
        _weight(value)
        return _made(value)

    def made(self, value: Any) -> Any:
        """A new text, or a part of a text or list."""
        _allow(sys.getsizeof(value) if isinstance(value, str | bytes | _CONTAINERS) else 0)
        return _made(value)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """An operator, unless its result would be too large."""
        if operator == "*":
            _multiplied(left, right)
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            _number(left.bit_length() * abs(right))
        elif operator == "%" and isinstance(left, str | bytes):
            pattern = left if isinstance(left, str) else left.decode("latin-1")
            _filled(pattern, right, "%", widths="*" in pattern)
        return self.made(super().call_binop(context, operator, left, right))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`str.format` and `str.format_map`, in the sandbox and bounded."""
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None
        pattern = str(value.__self__)

        def formatted(*args: Any, **given: Any) -> str:
            _filled(pattern, [*args, given], "{", widths=bool(_NESTED.search(pattern)))
            return str(_made(wrapped(*args, **given)))

        return update_wrapper(formatted, wrapped)

    def call(__self, __context: Context, __obj: Any, *args: Any, **given: Any) -> Any:
        """A call, unless its result would be too large."""
        own = getattr(__obj, "__self__", None)
        if own is __self:
            return __obj(*args)
        if isinstance(__obj, BuiltinMethodType | MethodType) and isinstance(own, str | bytes | int):
            args = _method(__obj, args, given)
        found = super().call(__context, __obj, *args, **given)
        return found if found is own else _made(found)

    def _generate(self, source: nodes.Template, *args: Any, **given: Any) -> str:
        _instrument(source)
        return super()._generate(source, *args, **given)


def _asked(name: str, *args: nodes.Expr) -> nodes.Call:
    """A call of the environment's own method."""
    return nodes.Call(nodes.EnvironmentAttribute(name), list(args), [], None, None)


def _turn(size: int) -> nodes.Expr:
    """`environment.turn(size)` as it stands in the compiled template: a call by the sandbox is slower."""
    return nodes.EnvironmentAttribute(f"turn({size})")


def _instrument(tree: nodes.Node) -> None:
    """Has a parsed template count its loops and macros, and charge what operators do not show."""
    for field, value in list(tree.iter_fields()):
        if isinstance(value, nodes.Node):
            setattr(tree, field, _counted(value))
        elif isinstance(value, list):
            setattr(tree, field, [_counted(v) if isinstance(v, nodes.Node) else v for v in value])
    if isinstance(
        tree, nodes.For | nodes.Macro | nodes.CallBlock | nodes.FilterBlock | nodes.AssignBlock
    ):
        fixed = [n.data for n in tree.find_all(nodes.TemplateData)]
        tree.body.insert(0, nodes.ExprStmt(_turn(sum(map(sys.getsizeof, fixed)))))
    if isinstance(tree, nodes.For) and tree.test is not None:
        tree.test = nodes.And(_turn(0), tree.test)


def _counted(node: nodes.Node) -> nodes.Node:
    """A node of the tree with its parts counted, in what charges for it."""
    _instrument(node)
    line = node.lineno
    if isinstance(node, nodes.List | nodes.Dict) or (
        isinstance(node, nodes.Tuple) and node.ctx == "load"
    ):
        return _asked("built", node).set_lineno(line)
    if isinstance(node, nodes.Concat):
        node.nodes = [_asked("weighed", part) for part in node.nodes]
        return _asked("made", node).set_lineno(line)
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
        return _asked("made", node).set_lineno(line)
    return node


def bound_templates() -> None:
    """From now on every chat template of this process that transformers renders is bounded.

    That holds for `apply_chat_template`, hence for TRL's and lm-eval's renderings, too.
    """
    from transformers.utils import chat_template_utils

    rendering: Any = chat_template_utils
    if rendering.ImmutableSandboxedEnvironment is not BoundedEnvironment:
        rendering.ImmutableSandboxedEnvironment = BoundedEnvironment
        rendering._compile_jinja_template.cache_clear()  # what was compiled without bounds
