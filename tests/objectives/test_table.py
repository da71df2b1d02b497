"""The table of objectives: names, aliases, parameters, refusals, labels, the listing."""

import inspect
import json
import re
import subprocess
import sys
from typing import Any

import pytest
import torch

from advisor.errors import InputError
from advisor.objectives.table import OBJECTIVES, Objective, TokenStats, get_objective

FROZEN = [
    "neg_p(prior=frozen)", "cadft(1, prior=frozen)", "threshold(10%, prior=frozen)",
    "p_anneal(0, 1, 0, 1, prior=frozen)", "nll>neg_p(prior=frozen, at=0.5)",
]  # fmt: skip
HALFWAY = 0.5
"""Of the training: where a row that changes while it trains is asked for weights."""


def weigh(row: Objective, done: float = HALFWAY) -> torch.Tensor:
    """Weights of four tokens of two examples, p = 1e-30 and 1 included, with every statistic there is."""
    p = torch.tensor([1e-30, 0.3, 0.8, 1.0])
    half = torch.full_like(p, 0.5)
    example = torch.tensor([0, 0, 1, 1])
    return row.at(done).weight(
        TokenStats(
            logp=p.log(), entropy=half, top1=p > 0.5, example=example, topk_entropy=half, collision=half,
            reference_logp=-half, reference_mass=half, forward=example,
        )
    )  # fmt: skip


@pytest.mark.parametrize("name", [row.name for row in OBJECTIVES.values()])
def test_no_gradient_flows_through_a_weight(name: str) -> None:
    logits = torch.tensor([0.3, -0.2, 1.5, 0.1], requires_grad=True)
    logp, half = torch.nn.functional.logsigmoid(logits), logits.sigmoid() / 2
    stats = TokenStats(
        logp=logp, entropy=half, top1=logp > -1, example=torch.tensor([0, 0, 1, 1]), topk_entropy=half,
        collision=half, reference_logp=half, reference_mass=half, forward=torch.tensor([0, 0, 0, 0]),
    )  # fmt: skip
    row = (
        OBJECTIVES[name].resolve(lambda share: share)
        if OBJECTIVES[name].quantiles
        else OBJECTIVES[name]
    )
    assert not row.at(HALFWAY).weight(stats).requires_grad


def test_dft_is_one_row_with_three_names() -> None:
    assert get_objective("dft") == get_objective("neg_p") == get_objective("-p")
    assert "dft" not in OBJECTIVES
    assert get_objective("SFT").name == "nll"


def test_names_and_aliases_are_unique() -> None:
    names = [name for row in OBJECTIVES.values() for name in (row.name, *row.aliases)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("spec", "name", "settings"),
    [
        ("p_pow", "p_pow", {"k": 10.0}),
        ("p_pow(0.5)", "p_pow", {"k": 0.5}),
        (" p_pow ( k = 0.5 ) ", "p_pow", {"k": 0.5}),
        ("nll()", "nll", {}),
        ("idft(1, 0.3)", "idft", {"beta": 1.0, "low": 0.3, "high": 2.0}),
        ("idft(high=3)", "idft", {"beta": 1.0, "low": 0.1, "high": 3.0}),
        ("nll_above(.5)", "threshold", {"tau": 0.5}),
        ("threshold(prior=frozen, 0.5)", "threshold", {"tau": 0.5}),
        ("cadft(1, prior = Frozen)", "cadft", {"beta": 1.0}),
    ],
)
def test_specifications(spec: str, name: str, settings: dict[str, float]) -> None:
    row = get_objective(spec)
    assert (row.name, row.settings) == (name, settings)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("nlll", "did you mean nll"),
        ("deft_caley", "did you mean deft_cayley"),
        ("zzzzzz", "known: nll, neg_p"),
        ("p_pow(0)", "k = 0 lies outside (0"),
        ("threshold(1.5)", "tau = 1.5 lies outside [0, 1]"),
        ("focal(-1)", "gamma = -1 lies outside [0"),
        ("p_pow(ten)", "'ten' is not a number"),
        ("p_pow(q=3)", "has no parameter 'q' (it has: k)"),
        ("nll(3)", "takes 0 parameters"),
        ("p_pow(nan)", "lies outside"),
        ("idft(beta=1, beta=2)", "beta is given twice"),
        ("idft(1, 3, 2)", "low = 3 lies above high = 2"),
        ("p_pow(inf)", "k = inf lies outside (0, inf)"),
        ("infosft(1)", "lies outside (0.5, 0.9999]"),
        ("infosft(0.5)", "lies outside (0.5, 0.9999]"),
        ("p_pow(10%)", "only tau takes a percentage"),
        ("threshold(101%)", "only tau takes a percentage"),
        ("neg_p(prior=cold)", "prior=cold: is frozen, the model before training, or current"),
        ("neg_p(prior=frozen, prior=frozen)", "prior is given twice"),
        ("nll(prior=frozen)", "its weight is the same whatever p is: leave out prior=frozen"),
        ("psft(prior=frozen)", "reads the model before training already: leave out prior=frozen"),
        ("prift_prob(prior=frozen)", "reads the model before training already"),
        ("(((", "unknown objective"),
        ("", "unknown objective"),
    ],
)
def test_wrong_objectives_are_refused_with_the_way_out(spec: str, says: str) -> None:
    with pytest.raises(InputError) as refusal:
        get_objective(spec)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_quantile_waits_for_its_value() -> None:
    row = get_objective("neg_p_above(25%)")
    assert row.label == "neg_p_above(25%)"
    with pytest.raises(ValueError, match="resolve"):
        weigh(row)
    asked = []
    resolved = row.resolve(lambda share: asked.append(share) or 0.4)
    assert asked == [0.25]
    assert resolved.settings == {"tau": 0.4}
    assert weigh(resolved).tolist() == pytest.approx([0, 0, 0.8, 1])


def test_labels_read_back() -> None:
    for label in [*OBJECTIVES, "p_pow(0.5)", "threshold(10%)", "idft(2, 0.3, 1)", *FROZEN]:
        row = get_objective(label)
        assert get_objective(row.label).label == row.label
        assert get_objective(row.label).settings == row.settings


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_ends_of_every_range_give_finite_weights(name: str) -> None:
    row = OBJECTIVES[name]
    assert weigh(row).shape == (4,)
    for key, spec in row.parameters.items():
        assert spec.check(name, key, spec.default) == spec.default
        for end in (spec.low, spec.high):
            if spec.exclusive_low and end == spec.low:
                with pytest.raises(InputError, match="lies outside"):
                    row.with_parameters(**{key: end})
            elif abs(end) < float("inf"):
                pair = {"low", "high"} <= set(row.parameters) and key in ("low", "high")
                values = (
                    {"low": end, "high": end} if pair else {key: end}
                )  # low may not exceed high
                for done in (0, HALFWAY, 1):
                    weights = weigh(row.with_parameters(**values), done)
                    assert bool((weights >= 0).all() and weights.isfinite().all()), (key, end)


def test_the_table_agrees_with_its_weight_functions() -> None:
    for row in OBJECTIVES.values():
        told: Any = type(row)
        if not row.scheduled:
            told = row.weight_function
            assert row.name == told.__name__
            assert list(inspect.signature(told).parameters) == ["stats", *row.parameters]
        text = inspect.getdoc(told) or ""
        papers = set(re.findall(r"arXiv:\d+\.\d+", row.source))
        assert papers, row.name
        assert papers <= set(re.findall(r"arXiv:\d+\.\d+", text)) or "github.com" in text, row.name


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_row_names_the_statistics_that_it_needs(name: str) -> None:
    row = OBJECTIVES[name].at(HALFWAY)
    logp = torch.tensor([-1.0, -2.0])
    optional = {
        "example": torch.tensor([0, 1]), "topk_entropy": logp, "collision": logp.exp(),
        "reference_logp": logp, "reference_mass": logp.exp(), "forward": torch.tensor([0, 0]),
    }  # fmt: skip
    given = {key: value for key, value in optional.items() if key in row.needs}
    row.weight(TokenStats(logp=logp, entropy=-logp, top1=logp > -1.5, **given))
    for key in given:
        rest = {other: value for other, value in given.items() if other != key}
        with pytest.raises(ValueError, match=key):
            row.weight(TokenStats(logp=logp, entropy=-logp, top1=logp > -1.5, **rest))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_row_says_whether_a_weight_depends_on_the_rest_of_the_step(name: str) -> None:
    row = OBJECTIVES[name].at(HALFWAY)
    logp = torch.tensor([-1.0, -2.0, -0.1, -4.0, -1.5])
    fields = {
        "logp": logp, "entropy": -logp, "top1": logp > -1.5, "example": torch.tensor([0, 1, 1, 2, 2]),
        "topk_entropy": -logp, "collision": logp.exp(), "reference_logp": logp + 0.1 * logp.cos(),
        "reference_mass": logp.exp(), "forward": torch.tensor([0, 0, 0, 0, 0]),
    }  # fmt: skip
    whole = row.weight(TokenStats(**fields))
    alone = ({key: column[i : i + 1] for key, column in fields.items()} for i in range(5))
    parts = [row.weight(TokenStats(**one)) for one in alone]
    assert torch.allclose(whole, torch.cat(parts)) == ("step" not in row.needs)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_row_names_the_statistics_that_make_its_weight(name: str) -> None:
    row = OBJECTIVES[name].at(HALFWAY)
    p = torch.tensor([0.05, 0.3, 0.6, 0.86])
    fields = {
        "logp": p.log(), "entropy": p + 0.5, "topk_entropy": p + 0.3, "collision": p.square() + 0.1,
        "mass": p,
    }  # fmt: skip
    others = {
        "top1": p > 0.5, "example": torch.tensor([0, 0, 1, 1]), "reference_logp": (0.9 * p).log(),
        "reference_mass": p, "forward": torch.tensor([0, 0, 0, 0]),
    }  # fmt: skip
    known = row.weight(TokenStats(**fields, **others))
    moved = {
        key
        for key in fields
        for changed in [{**fields, key: fields[key].flip(0)}]
        if not torch.equal(row.weight(TokenStats(**changed, **others)), known)
    }
    compares = any(need.startswith("reference_") for need in row.needs)
    assert set(row.statistics) == (set() if compares else moved)


def test_a_frozen_objective_says_what_it_reads_before_training() -> None:
    read = {
        "neg_p": ("logp",),
        "idft": ("logp", "entropy"),
        "eaft": ("topk_entropy",),
        "deft": ("collision", "logp"),
        "nll>deft": ("collision", "logp"),
    }
    for name, columns in read.items():
        frozen = get_objective(f"{name}(prior=frozen)")
        assert set(frozen.before_training) == set(columns)
        assert not frozen.head_statistics  # nothing of them is made again while it trains
    assert "step" in get_objective("cadft(prior=frozen)").needs
    assert not OBJECTIVES["neg_p"].frozen


def test_listing_needs_no_torch() -> None:
    code = (
        "import sys; from harness.cli.main import main; assert main(['ls', 'objectives', '--json']) == 0; "
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    listed = json.loads(
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    )
    assert [row["name"] for row in listed] == list(OBJECTIVES)
    assert set(listed[0]) == {"name", "aliases", "formula", "leaning", "source", "status", "needs"}
