"""Priors that were kept open for ever, and the form in which one is kept is a contract."""

import json
from pathlib import Path

import pytest

from advisor.prior.kept import read_prior
from advisor.prior.prior import Prior
from advisor.prior.prior_json import adapter
from harness.cli.main import main
from tests.helpers.paths import ROOT

LOCKED = ROOT / "advisor" / "prior" / "prior.schema.json"
KEPT = sorted((ROOT / "tests" / "helpers" / "kept").glob("prior-*.json"))
"""A prior for every set of fields that was ever written: at first, with `intervals`, with `tokens`."""


def test_the_form_of_a_prior_is_the_locked_one() -> None:
    """A field that is added, renamed or of another type fails: old priors must still be read."""
    assert adapter(Prior).json_schema() == json.loads(LOCKED.read_text())


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_priors_of_every_version_so_far_are_answered(path: Path) -> None:
    found = json.loads(path.read_text())
    prior = read_prior(str(path)).prior
    assert prior.mean_p == found["mean_p"] and bool(prior.intervals) == ("intervals" in found)
    assert prior.tokens == found.get("tokens")
    assert main(["recommend", "--prior", str(path), "--temperature", "1", "--json"]) == 0


def test_the_newest_of_them_has_every_field() -> None:
    assert len(KEPT) == 3 and {*json.loads(KEPT[-1].read_text())} == {
        *json.loads(LOCKED.read_text())["properties"], "share_p_below_0.1"
    }  # fmt: skip
