"""The tables of `objectives.md`, and its section for every objective from the docstrings of the weights."""

import inspect
import math
import re

from advisor.objectives.table import OBJECTIVES, Objective
from harness.experiments.added.added_tables import added_table
from harness.plots.continuum import tokens, weighs_p_alone
from harness.records.target_sources import TARGET_SOURCES, TargetSource
from tables.markdown import RESULTS, table

NEEDS = {
    "topk_entropy": "entropy of the 20 most probable tokens",
    "collision": "sum of squared probabilities",
    "example": "which example a token belongs to",
    "forward": "which micro-batch a token is read in",
    "step": "all tokens of the optimiser step before its first gradient",
    "reference_logp": "log p before training",
    "reference_mass": "probability, before training, of the target and all less probable tokens",
    "anchor": "the whole distribution before training",
}


def tables() -> dict[str, str]:
    """All objectives in one table, then one by one; where their targets may come from."""
    head = ("name", "also", "loss f(p)", "weight w(p)", "leaning", "mass of W above 1/2", "status")
    return {
        "objectives": table(head, map(_row, OBJECTIVES.values())),
        "one-by-one": "\n\n".join(map(_section, OBJECTIVES.values())),
        "added": table(*added_table(RESULTS)),
        "targets": table(
            ("written", "trained on", "settings", "source"),
            map(_targets, TARGET_SOURCES.values()),
        ),
    }


def _row(row: Objective) -> tuple[str, ...]:
    formulas = (f"`{text}`".replace("|", "\\|") for text in (row.formula, row.weight_formula))
    also = ", ".join(f"`{alias}`" for alias in row.aliases)
    return f"[`{row.name}`](#{row.name})", also, *formulas, row.leaning, _mass(row), row.status


def _targets(row: TargetSource) -> tuple[str, ...]:
    """One source of targets."""
    settings = "; ".join(
        f"`{found.name}`{f' = {found.default:g}' if found.number else ''}: {found.meaning}"
        for found in row.settings
    )
    return f"`{row.written}`", row.does, settings, row.source


def _section(row: Objective) -> str:
    """Docstring, parameters, needs and source of one row; inline maths as GitHub reads it safely."""
    told = type(row) if row.scheduled else row.weight_function
    text, _, source = (inspect.getdoc(told) or "").partition("\n\nSource: ")
    facts = [f"Source: {' '.join(source.split()).rstrip('.')} ({row.status})"]
    if row.parameters:
        facts.insert(0, f"Parameters: {'; '.join(_parameters(row))}")
    if row.needs:
        needs = (NEEDS.get(need, need) for need in row.needs)
        facts.insert(-1, f"Needs: {'; '.join(needs)}")
    page = f"### {row.name}\n\n{text}\n\n" + "\n".join(f"- {fact}" for fact in facts)
    return re.sub(r"\$([^$]+)\$", r"$`\1`$", page)


def _parameters(row: Objective) -> list[str]:
    """Default and range of each parameter: `k` = 10, in (0, inf)."""
    ranges = []
    for name, spec in row.parameters.items():
        opening = "(" if spec.exclusive_low else "["
        closing = "]" if math.isfinite(spec.high) else ")"
        quantile = ", or a percentage: that quantile of p before training" if name == "tau" else ""
        bounds = f"{opening}{spec.low:g}, {spec.high:g}{closing}"
        ranges.append(f"`{name}` = {spec.default:g}, in {bounds}{quantile}")
    return ranges


def _mass(row: Objective) -> str:
    """Share of the mass of W(p) = w(p) (1 - p) above p = 1/2 at the defaults."""
    if not weighs_p_alone(row):
        return ""
    stats = tokens(10_000)
    pull = row.weight(stats) * (1 - stats.p)
    return f"{(pull[stats.p > 0.5].sum() / pull.sum()).item():.2f}"
