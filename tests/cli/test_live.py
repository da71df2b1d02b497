"""What is said of a run as it ends."""

import io
from dataclasses import replace

from rich.console import Console

from harness.cli.live import Board, Reporter
from harness.study.confirm import Event
from tests.helpers.studies import flat, in_bits, run_of, study_of


def test_how_the_targets_of_a_cascade_came_about_is_said() -> None:
    study = study_of(objectives=("nll", "nll@cascade"))
    console = Console(file=io.StringIO(), width=200)
    reporter = Reporter(Board(study, []), console, lines=True)
    for spec in study.grid()[:4]:
        ways = {"own": 3, "guided": 2, "demonstration": 7, "per_prompt": 4, "temperature": 1.0}
        prior = {"cascade": ways} if "cascade" in spec.arm.method else None
        run = replace(run_of(spec, flat(0.5)), prior=prior)
        reporter.report(Event(run, 1, 4, 0.0, None, True))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert said.count("3 rows the model's own answers, 2 answered with the demonstration") == 2
    assert "7 demonstrations as they were" in said


def test_a_score_that_is_no_share_keeps_its_digits() -> None:
    study = study_of(evaluation={"temperature": 1.0, "temperatures": [1.0]})
    console = Console(file=io.StringIO(), width=200)
    board, spec = Board(study, []), study.grid()[0]
    run = in_bits(run_of(spec, flat(0.32)))
    Reporter(board, console, lines=True).report(Event(run, 1, 4, 0.0, None, True))
    console.print(board)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert said.count(f"{1.053 - 0.1 * 96 / 300:.4g}") == 2
