"""Keyword arguments of the library are the command line's flags: names, defaults, bounds."""

import inspect
from dataclasses import fields
from typing import Any

import pytest

import advisor
from advisor.errors import InputError
from advisor.options import AdviceOptions, DataOptions, ModelOptions, Options, PriorOptions
from harness.evaluate.scoring_options import ScoringOptions
from harness.library.keywords import made, reading_of, split
from harness.study.study_options import StudyOptions
from harness.train.training_options import TrainingOptions

KINDS: dict[str, tuple[type[Options], ...]] = {
    "measure_prior": (AdviceOptions, PriorOptions),
    "recommend": (AdviceOptions, PriorOptions),
    "confirm": (StudyOptions, ScoringOptions),
    "train": (TrainingOptions,),
}


@pytest.mark.parametrize("name", KINDS)
def test_defaults_are_the_command_lines(name: str) -> None:
    defaults = {f.name: f.default for kind in KINDS[name] for f in fields(kind)}  # type: ignore[arg-type]
    parameters = inspect.signature(getattr(advisor, name)).parameters
    shared = [p for p in parameters.values() if p.name in defaults and p.name != "output_dir"]
    assert len(shared) >= 1
    for parameter in shared:
        assert parameter.default == defaults[parameter.name], parameter.name
    own = {"model", "dataset", "quiet", "eval_dataset", "reading", "settings", "output_dir"}
    assert set(parameters) - own <= set(defaults)


def test_no_two_kinds_of_options_share_a_name() -> None:
    """Or a keyword argument would be taken for the first of them."""
    for kinds in (
        (StudyOptions, ScoringOptions),
        (TrainingOptions,),
        (AdviceOptions, PriorOptions),
    ):
        names = [f.name for kind in (*kinds, DataOptions, ModelOptions) for f in fields(kind)]
        assert len(names) == len(set(names))


def test_settings_are_sorted_by_name() -> None:
    settings = {"seeds": 2, "limit": 3, "max_steps": 4, "prompt_field": "x"}
    parts, rest = split(settings, StudyOptions, ScoringOptions, DataOptions)
    assert parts == [{"seeds": 2}, {"limit": 3}, {"prompt_field": "x"}] and rest == {"max_steps": 4}
    assert reading_of({"dtype": "float32", "split": "a"}) == ({"dtype": "float32"}, {"split": "a"})


def test_one_of_several_may_stand_alone_and_lists_are_tuples() -> None:
    assert made(StudyOptions, {"objectives": "nll"}).objectives == ("nll",)
    assert made(StudyOptions, {"learning_rates": [1e-3, 1e-4]}).learning_rates == (1e-3, 1e-4)
    assert made(StudyOptions, {"objectives": None}) == StudyOptions()


REFUSED: list[tuple[type[Options], dict[str, Any], str]] = [
    (PriorOptions, {"limit": True}, "limit True: expected a whole number"),
    (PriorOptions, {"limit": 20.0}, "limit 20.0: expected a whole number"),
    (PriorOptions, {"seed": -1}, "seed -1: expected 0 or more"),
    (StudyOptions, {"learning_rates": [1e-3, -1.0]}, "learning_rates -1: expected 0 or more"),
    (ScoringOptions, {"temperature": float("nan")}, "temperature nan: expected 0 to 10"),
    (ScoringOptions, {"margin": float("inf")}, "margin inf: expected 0 or more"),
    (AdviceOptions, {"depth": "deeper"}, "depth 'deeper': expected quick or deep"),
]


@pytest.mark.parametrize(("kind", "values", "reason"), REFUSED)
def test_values_out_of_bounds_are_refused(
    kind: type[Options], values: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        made(kind, values)
