"""A team's own records become cells: what enters, what is left out, and that the next answer knows them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from advisor.advice.calibration import read, shipped
from advisor.errors import InputError
from harness.cli.main import main
from harness.records.arm import NLL, arm_of
from harness.records.runs import Results, Score, read_run
from harness.statistics.paired import paired_difference
from harness.study.own_cells import extended, own_cells
from tests.helpers.paths import ROOT
from tests.helpers.studies import flat, play, study_of

CONFIRMED = ROOT / "results" / "confirm"
PRIOR = {"mean_p": 0.8, "model": {"parameters": 12345}}


def test_a_settled_study_becomes_a_cell_with_its_gains() -> None:
    (cell,) = own_cells([CONFIRMED / "strong-sampled"]).cells
    assert (cell.domain, cell.decoding, cell.parameters) == ("user", "sampled", 798_848)
    assert set(cell.gains) == {"neg_p", "threshold(0.2)", "cadft(1)"}
    runs = [read_run(path) for path in (CONFIRMED / "strong-sampled" / "runs").glob("*.json")]

    def scores(objective: str, rate: float) -> list[tuple[float, ...]]:
        chosen = sorted(
            (r for r in runs if (r.spec.arm.method, r.spec.arm.learning_rate) == (objective, rate)),
            key=lambda run: run.spec.seed,
        )
        return [
            score.per_document
            for run in chosen
            for score in run.scores
            if score.part == "test" and score.temperature == 1.0
        ]

    def rate(objective: str) -> float:
        """The one with the full number of seeds."""
        rates = {r.spec.arm.learning_rate for r in runs if r.spec.arm.method == objective}
        (whole,) = (
            one for one in rates if one and one >= 3e-4 and len(scores(objective, one)) == 3
        )
        return whole

    difference = paired_difference(scores("neg_p", rate("neg_p")), scores(NLL, rate(NLL)))
    assert cell.gains["neg_p"] == pytest.approx(100 * difference.estimate)


@pytest.mark.slow
def test_studies_are_added_once_and_the_shipped_cells_stay() -> None:
    """Protects the shipped calibration: all committed studies are read, and each is a cell once."""
    own = own_cells([CONFIRMED / "weak-greedy"])
    more = extended(shipped(), own.cells)
    assert len(more.cells) == len(shipped().cells) + 1
    assert len(extended(more, own.cells).cells) == len(more.cells)
    twice = own_cells([CONFIRMED, CONFIRMED / "weak-greedy"])
    assert len(twice.cells) == len(own_cells([CONFIRMED]).cells) >= 6


def test_studies_that_differ_in_their_teacher_alone_are_one_cell(tmp_path: Path) -> None:
    """What counts is the gains on the demonstrations: those are the same runs, and count once."""
    runs = [read_run(path) for path in (CONFIRMED / "weak-greedy" / "runs").glob("*.json")]
    for run in runs:
        Results(tmp_path).write(run)
        for name in ("big", "small") if run.spec.arm.method == "neg_p" else ():
            models = {"t": {"name": name, "fingerprint": name}}
            spec = replace(
                run.spec,
                arm=arm_of("opd", learning_rate=run.spec.arm.learning_rate),
                teachers={"route": None, "models": models},
            )
            Results(tmp_path).write(replace(run, spec=spec))
    (cell,) = own_cells([tmp_path]).cells
    (plain,) = own_cells([CONFIRMED / "weak-greedy"]).cells
    assert (cell.gains, cell.source) == (plain.gains, plain.source)
    assert plain.source == "study b4722e2a35fa"  # wherever and whenever it is read


def test_what_adds_nothing_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        own_cells([tmp_path / "nope"])
    with pytest.raises(InputError, match="no records of runs"):
        own_cells([tmp_path])
    runs = tmp_path / "runs"
    runs.mkdir()
    for path in (CONFIRMED / "weak-greedy" / "runs").glob("*.json"):
        if read_run(path).spec.arm.method == "base":
            (runs / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="nothing but nll has run"):
        own_cells([tmp_path])


def wrong(score: Score) -> Score:
    return replace(score, values=((0.0,),) * len(score.values))


def few(score: Score) -> Score:
    return replace(score, documents=score.documents[:16], values=score.values[:16])


def in_nats(score: Score) -> Score:
    return replace(score, metric="word_perplexity", unit="nats per word", higher_is_better=False)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (wrong, "cannot tell the arms apart: all of them score at the floor"),
        (few, r"its gains have a standard error of 1\d points"),
        (in_nats, "its scores are in nats per word, and gains are forecast in points"),
    ],
    ids=["floor", "vague", "no shares"],
)
def test_a_study_that_decides_nothing_is_refused(
    tmp_path: Path, change: Callable[[Score], Score], says: str
) -> None:
    """16 right-or-wrong answers and one seed: a standard error of 7 to 18 points, and 7 of the seed."""
    study = study_of(seeds=(0,), objectives=("nll", "neg_p"), learning_rates=(1e-3,))
    for run in play(study, lambda *_: flat(0.5)):
        scores = tuple(map(change, run.scores))
        Results(tmp_path).write(replace(run, prior=PRIOR, scores=scores))
    with pytest.raises(InputError, match=says):
        own_cells([tmp_path])


def test_the_command_writes_what_recommend_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "own.json"
    assert main(["calibrate", str(CONFIRMED / "strong-sampled"), "-o", str(path)]) == 0
    assert f"--calibration {path}" in capsys.readouterr().out
    assert sum(cell.domain == "user" for cell in read(path).cells) == 1
    words = ["recommend", "ladder:strong", "--temperature", "1", "--json"]
    assert main([*words, "--calibration", str(path)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["basis"] == "user" and answer["nearest"][0]["domain"] == "user"
    low, high = {arm["objective"]: arm["interval"] for arm in answer["ranking"]}["cadft"]
    assert 5 < low < 29 < high < 45  # three seeds said +29.2 [23.2, 35.1]
    path.write_text("{}")
    assert main([*words, "--calibration", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
