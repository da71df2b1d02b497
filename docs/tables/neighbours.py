"""The tables of other trainers: what was checked of each, and how each gets to an objective."""

from advisor.errors import InputError
from advisor.objectives.export_files import export_files
from advisor.objectives.neighbours import NEIGHBOURS, Neighbour
from advisor.objectives.table import OBJECTIVES
from advisor.objectives.trainer_files import Layout, Wanted
from tables.markdown import table


def tables() -> dict[str, str]:
    """Both tables."""
    return {"neighbours": trainers(), "exports": exports()}


def trainers() -> str:
    """A line a trainer: version, how it was checked, where our loss comes in, what is known of it."""
    rows = ((f"`{n.name}`", read(n), checked(n), n.place, known(n)) for n in NEIGHBOURS.values())
    return table(["`--to`", "version", "how checked", "our loss comes in through", "known"], rows)


def read(neighbour: Neighbour) -> str:
    """Its version, with the commit where one was read."""
    place = f"[{neighbour.title}](https://github.com/{neighbour.repository})"
    return f"{place} {neighbour.version}" + (f", {neighbour.commit}" if neighbour.commit else "")


def checked(neighbour: Neighbour) -> str:
    """How far the files were checked."""
    if not neighbour.commit:
        return "run: one step with the files equals one of ours to 1e-6"
    return f"checked against documented keys of version {neighbour.version}; not run"


def known(neighbour: Neighbour) -> str:
    """What differs from the published formula or is broken."""
    parts = [(f"`{key}`: " if key != "*" else "") + text for key, text in neighbour.bugs.items()]
    return " ".join(parts)


def exports() -> str:
    """A line an objective: which trainers have a setting, which take our program, which cannot."""
    how = {name: {to: way(name, to) for to in NEIGHBOURS} for name in OBJECTIVES}
    rows = ([f"`{name}`", *(ways[to] for to in NEIGHBOURS)] for name, ways in how.items())
    return table(["objective", *(f"`{to}`" for to in NEIGHBOURS)], rows)


def way(objective: str, to: str) -> str:
    """How a trainer gets to an objective at its default parameters."""
    layout: Layout = "prompt_completion" if to == "unsloth" else "messages"
    try:
        return export_files(objective, to, Wanted(layout=layout, learning_rate=1e-5)).how
    except InputError:
        return ""
