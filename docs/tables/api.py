"""The library's page: signatures and docstrings of what `import advisor` offers.

In the order in which a user meets the names, and after them the types that they give back.
"""

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from textwrap import dedent
from typing import Any

import advisor
from advisor.advice.recommend import Recommendation
from advisor.data.dataset import SFTDataset
from advisor.model.loaded import LoadedModel
from advisor.model.objective_head import ObjectiveHead
from advisor.objectives.table import Objective
from advisor.prior.prior import Prior
from harness.study.verdict import Verdict
from harness.train.fine_tune import Trained

FUNCTIONS = (
    "load_model",
    "load_dataset",
    "measure_prior",
    "recommend",
    "confirm",
    "train",
    "get_objective",
    "add_objective_head",
    "objective_loss",
)
TYPES = (LoadedModel, SFTDataset, Prior, Recommendation, Verdict, Trained, Objective, ObjectiveHead)


def tables() -> dict[str, str]:
    """Every function, the objectives, and the types that functions give back, a section each."""
    names = ", ".join(f"`{name}`" for name in advisor.OBJECTIVES)
    objectives = f"{of_module('OBJECTIVES')} {names}; [objectives.md](objectives.md) has them all."
    parts = [
        *map(function_section, FUNCTIONS),
        f"## OBJECTIVES\n\n{objectives}",
        *map(type_section, TYPES),
    ]
    return {"api": "\n\n".join(parts)}


def function_section(name: str) -> str:
    """Signature and docstring of a public function."""
    function = getattr(advisor, name)
    return f"## {name}\n\n{signature(f'advisor.{name}', function)}\n\n{text_of(function)}"


def type_section(kind: type) -> str:
    """Docstring, fields and public methods of a type that a function gives back."""
    lines = [f"## {kind.__name__}", text_of(kind)]
    if described := dict(field_texts(kind)):
        lines.append("\n".join(f"- `{name}`: {text}" for name, text in described.items()))
    for name, member in vars(kind).items():
        if name.startswith("_") or name in described or not (inspect.getdoc(member) or "").strip():
            continue
        if isinstance(member, property):
            lines.append(f"`.{name}`: {text_of(member)}")
        elif inspect.isfunction(member):
            lines.append(f"{signature(f'.{name}', member)}\n\n{text_of(member)}")
    return "\n\n".join(lines)


def signature(name: str, function: Any) -> str:
    """The call with its parameters and defaults, without annotations, as a block of Python."""
    shown = []
    for parameter in inspect.signature(function).parameters.values():
        plain = parameter.replace(annotation=inspect.Parameter.empty)
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in shown:
            shown.append("*")
        if parameter.name != "self":
            shown.append(default_by_name(plain))
    call = f"{name}({', '.join(shown)})"
    if len(call) > 100:
        call = f"{name}(\n    " + ",\n    ".join(shown) + ",\n)"
    return f"```python\n{call}\n```"


def default_by_name(parameter: inspect.Parameter) -> str:
    """A parameter; a default that is a function is left to the text."""
    return f"{parameter.name}=..." if inspect.isfunction(parameter.default) else str(parameter)


def text_of(documented: Any) -> str:
    """A docstring as Markdown: its sections as lists, its formulas as GitHub reads them."""
    text = inspect.getdoc(documented) or ""
    text = re.sub(r"\$([^$]+)\$", r"$`\1`$", text)
    head, *sections = re.split(r"^(Args|Returns|Raises):\n", text, flags=re.M)
    page = [head.strip()]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        page.append(f"{title}:\n\n{listed(dedent(body).strip(), named=title != 'Returns')}")
    return "\n\n".join(page)


def listed(body: str, *, named: bool) -> str:
    """`name: text` entries as a list, each on one line; anything else as it stands."""
    entries = re.split(r"\n(?=\S)", body) if named else [body]
    flat = [" ".join(entry.split()) for entry in entries]
    if not named:
        return flat[0]
    return "\n".join(re.sub(r"^([*\w]+): ", r"- `\1`: ", entry) for entry in flat)


def field_texts(kind: type) -> Iterator[tuple[str, str]]:
    """(name, text beneath it) of every public attribute that is described in the class's body."""
    source = inspect.getsource(kind)
    names = (
        [f.name for f in fields(kind)]
        if is_dataclass(kind)
        else list(inspect.get_annotations(kind))
    )
    for name in names:
        found = re.search(rf'^    {name}: [^\n]*\n    """(.*?)"""', source, flags=re.M | re.S)
        if found and not name.startswith("_"):
            yield name, " ".join(found.group(1).split())


def of_module(name: str) -> str:
    """The text beneath a constant of the table of objectives."""
    source = inspect.getsource(inspect.getmodule(advisor.get_objective) or advisor)
    found = re.search(rf'^{name}\b[^\n]*\n"""(.*?)"""', source, flags=re.M | re.S)
    return " ".join(found.group(1).split()) if found else ""
