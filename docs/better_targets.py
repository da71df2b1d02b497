"""The page on better targets: what rewriting, hinted decoding and distillation did, from the records."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.records.arm import NLL, Arm
from harness.records.runs import Results
from harness.report import facts
from harness.statistics.paired import Difference, paired_difference
from harness.study.from_records import Evidence, evidence_of
from harness.study.study import arm_scores, part_values
from harness.study.verdict import settle

RESULTS = Path(__file__).parents[1] / "results"
SAMPLED, GREEDY = 1.0, 0.0
HEATS = (SAMPLED, GREEDY)


class Question(NamedTuple):
    """What one folder of records was made to answer."""

    title: str
    folder: str
    """Of `results/`."""
    asked: str
    """What was done and why, in Markdown."""
    found: str
    """What the numbers say."""
    pairs: Sequence[tuple[str, str]]
    """Labels of arms to hold against each other, in every study of the folder that has both."""
    across: Sequence[tuple[str, str, str]] = ()
    """Two studies, as `_names` calls them, and the label of an arm of both to compare."""
    before: str = ""
    """Commands that made the data and the teachers, each line with its end."""


def better_targets_page(introduction: str, questions: Sequence[Question]) -> str:
    """Every question with its tables."""
    return "\n".join([introduction, *map(_section, questions)])


def _section(question: Question) -> str:
    studies = _names(evidence_of(Results(RESULTS / question.folder).runs()))
    parts = [f"## {question.title}", "", question.asked]
    for evidence in studies.values():
        heading = f"{' '.join(_parts(evidence))}, {_prior(evidence)}:"
        parts += [heading, "", *_table(evidence), ""]
    if pairs := [*_within(studies, question.pairs), *_across(studies, question.across)]:
        parts += ["| pair | sampled at 1 | greedy |", "|---|---|---|", *pairs, ""]
    commands = "\n".join(facts.command(evidence) for evidence in studies.values())
    parts += [question.found]
    parts += [
        "<details><summary>Commands</summary>",
        "",
        "```sh",
        f"{question.before}{commands}",
        "```",
        "",
    ]
    return "\n".join([*parts, "</details>", ""])


def _parts(evidence: Evidence) -> list[str]:
    study = evidence.study
    parts = [f"`{study.model}`"]
    if study.dataset != study.model:
        parts.append(f"on `{study.dataset}`")
    if study.teachers:
        names = [f"`{of['name']}`" for of in study.teachers["models"].values()]
        parts.append(f"taught by {' and '.join(names)}")
    return [*parts, f"with {study.training.get('optim', 'adamw')}"]


def _names(studies: Sequence[Evidence]) -> dict[str, Evidence]:
    """The studies of a folder by what tells them apart; by the model where nothing is special."""
    parts = [_parts(one) for one in studies]
    shared = set.intersection(*map(set, parts)) if len(parts) > 1 else set()
    own = [" ".join(part for part in found if part not in shared) or found[0] for found in parts]
    return dict(zip(own, studies, strict=True))


def _prior(evidence: Evidence) -> str:
    prior = evidence.prior
    return f"mean p {prior['mean_p']:.2f}, mean CLL {prior['cll']:+.2f}"


def _table(evidence: Evidence) -> Iterator[str]:
    """Every arm at its chosen rate: its scores, and its difference from NLL."""
    verdict = settle(evidence.study, evidence.runs)
    against = {row.arm: row for row in verdict.against(NLL)}
    yield "| arm | learning rate | sampled at 1 | greedy | sampled, less nll | |"
    yield "|---|---|---|---|---|---|"
    for arm in evidence.arms():
        row = against.get(arm)
        said = (_said(row.difference), row.verdict) if row else ("", "")
        rate = "" if arm.learning_rate is None else f"{arm.learning_rate:g}"
        scores = [_score(evidence, arm, heat) for heat in HEATS]
        yield f"| {' | '.join((f'`{arm.label}`', rate, *scores, *said))} |"


def _score(evidence: Evidence, arm: Arm, heat: float) -> str:
    """Mean over seeds and tasks in points, and of each task where there are several."""
    study, seeds = evidence.study, evidence.seeds(arm)
    runs = [evidence.done[study.spec(arm, seed).id] for seed in seeds]
    values = [part_values(study, run, "test", heat) for run in runs]
    means = {task: 100 * np.mean([found[task].mean() for found in values]) for task in study.tasks}
    text = f"{np.mean(list(means.values())):.1f}"
    each = ", ".join(f"{task.removeprefix('ladder_')} {mean:.1f}" for task, mean in means.items())
    return f"{text} ({each})" if len(means) > 1 else text


def _within(studies: Mapping[str, Evidence], pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    for name, evidence in studies.items():
        for pair in pairs:
            ours, theirs = (_scores(evidence, label) for label in pair)
            if ours and theirs:
                where = f", {name}" if len(studies) > 1 else ""
                yield _row(f"`{pair[0]}` less `{pair[1]}`{where}", ours, theirs)


def _across(
    studies: Mapping[str, Evidence], triples: Sequence[tuple[str, str, str]]
) -> Iterator[str]:
    for one, other, label in triples:
        ours, theirs = (_scores(studies[name], label) for name in (one, other))
        if ours and theirs:
            yield _row(f"`{label}` {one} less {other}", ours, theirs)


def _row(
    what: str,
    ours: Mapping[float, NDArray[np.float64]],
    theirs: Mapping[float, NDArray[np.float64]],
) -> str:
    cells = [_said(paired_difference(ours[heat], theirs[heat]), scale=100.0) for heat in HEATS]
    return f"| {what} | {' | '.join(cells)} |"


def _scores(evidence: Evidence, label: str) -> dict[float, NDArray[np.float64]] | None:
    """Temperature to [seeds, documents]; None for an arm that the study has not."""
    arm = next((arm for arm in evidence.arms() if arm.label == label), None)
    if arm is None:
        return None
    seeds = evidence.seeds(arm)
    return {t: arm_scores(evidence.study, arm, evidence.done, seeds, t) for t in HEATS}


def _said(difference: Difference, *, scale: float = 1.0) -> str:
    """The difference with its interval; shares times 100 are points."""
    estimate, low, high = (scale * x for x in (difference.estimate, *difference.interval))
    return f"{estimate:+.1f} [{low:+.1f}, {high:+.1f}]"
