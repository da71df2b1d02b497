"""The tables of `better-targets.md`: what resampling, rewriting and distillation did, from the records."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from harness.experiments.added.added_tables import targets_table
from harness.records.arm import NLL, Arm
from harness.records.runs import Results
from harness.report import facts
from harness.statistics.paired import Difference, paired_difference
from harness.study.from_records import Evidence, evidence_of
from harness.study.study import arm_scores, part_values
from harness.study.verdict import settle
from tables.markdown import RESULTS, table

HEATS = (1.0, 0.0)
PLAIN, HINTED, KEPT = "`ladder:strong`", "on `hinted.jsonl`", "on `kept.jsonl`"
IDFT = "idft(1, 0.1, 2)"
Scores = Mapping[float, NDArray[np.float64]]
"""Temperature to [seeds, documents]."""


OF_DRAWN_TOKENS = (("opd(sampled)", "opd"), ("fire(sampled)", "opd(sampled)"))
QUESTIONS: dict[str, Sequence[tuple[str, str]]] = {
    "rewriting": (("cadft(1)@resampled", "cadft(1)"), ("cadft(1)@resampled(0.1)", "cadft(1)")),
    "mean-weight": (
        ("cadft(1)", "cadft_mean(1)"),
        ("cadft_mean(1)", "neg_p"),
        ("cadft(1)", "neg_p"),
    ),
    "hinted": ((IDFT, NLL),),
    "distillation": (
        *(
            ("opd", NLL),
            ("fire", "opd"),
            ("fire(percentile=0)", "opd"),
            ("fire(alpha=0, beta=0)", "opd"),
        ),
        *OF_DRAWN_TOKENS,
    ),
    "more-rollouts": (("fire", "opd"), *OF_DRAWN_TOKENS),
    "two-teachers": (
        ("opd", NLL),
        ("fire", "opd"),
        ("fire(per_teacher)", "fire"),
        *OF_DRAWN_TOKENS,
    ),
}
"""Folder of `results/confirm/` to labels of two arms that are compared in every study of it."""
ACROSS = {
    "hinted": (
        (HINTED, KEPT, NLL),
        (KEPT, PLAIN, NLL),
        (HINTED, KEPT, IDFT),
        (KEPT, PLAIN, IDFT),
        (HINTED, PLAIN, IDFT),
    )
}
"""Folder to two of its studies, as `studies_in` calls them, and the label of an arm of both."""


def tables() -> dict[str, str]:
    """Arms, pairs and commands of every question."""
    found = {"own-targets": table(*targets_table(RESULTS))}
    for folder in QUESTIONS:
        studies = studies_in(folder)
        found[folder] = "\n\n".join(map(arms_of, studies.values()))
        found[f"{folder}-pairs"] = _pairs(folder)
        commands = "\n".join(map(facts.command, studies.values()))
        found[f"{folder}-commands"] = f"```sh\n{commands}\n```"
    return found


@cache
def studies_in(folder: str) -> dict[str, Evidence]:
    """The studies of a folder of `results/confirm/`, by what tells them apart."""
    studies = evidence_of(Results(RESULTS / "confirm" / folder).runs())
    parts = [_parts(one) for one in studies]
    shared = set.intersection(*map(set, parts)) if len(parts) > 1 else set()
    own = [" ".join(part for part in found if part not in shared) or found[0] for found in parts]
    return dict(zip(own, studies, strict=True))


def _parts(evidence: Evidence) -> list[str]:
    study = evidence.study
    parts = [f"`{study.model}`"]
    if study.dataset != study.model:
        parts.append(f"on `{study.dataset}`")
    if study.teachers:
        names = [f"`{of['name']}`" for of in study.teachers["models"].values()]
        parts.append(f"taught by {' and '.join(names)}")
    return [*parts, f"with {study.training.get('optim', 'adamw')}"]


def arms_of(evidence: Evidence) -> str:
    """Every arm at its chosen rate: its scores, and its difference from NLL."""
    against = {row.arm: row for row in settle(evidence.study, evidence.runs).against(NLL)}
    rows = []
    for arm in evidence.arms():
        row = against.get(arm)
        said = (_said(row.difference), row.verdict) if row else ("", "")
        rate = "" if arm.learning_rate is None else f"{arm.learning_rate:g}"
        rows.append(
            (f"`{arm.label}`", rate, *(_score(evidence, arm, heat) for heat in HEATS), *said)
        )
    head = ("arm", "learning rate", "sampled at 1", "greedy", "less nll, as it is used", "")
    prior = f"mean p {evidence.prior['mean_p']:.2f}, mean CLL {evidence.prior['cll']:+.2f}"
    return f"{' '.join(_parts(evidence))}, {prior}:\n\n{table(head, rows)}"


def _score(evidence: Evidence, arm: Arm, heat: float) -> str:
    """Mean over seeds and tasks in points, and of each task where there are several."""
    study = evidence.study
    runs = [evidence.done[study.spec(arm, seed).id] for seed in evidence.seeds(arm)]
    values = [part_values(study, run, "test", heat) for run in runs]
    means = {task: 100 * np.mean([found[task].mean() for found in values]) for task in study.tasks}
    text = f"{np.mean(list(means.values())):.1f}"
    each = ", ".join(f"{task.removeprefix('ladder_')} {mean:.1f}" for task, mean in means.items())
    return f"{text} ({each})" if len(means) > 1 else text


def _pairs(folder: str) -> str:
    rows = [
        (what, *(_said(found[heat], scale=100.0) for heat in HEATS))
        for what, found in pairs(folder)
    ]
    return table(("pair", "sampled at 1", "greedy"), rows)


def pairs(folder: str) -> Iterator[tuple[str, dict[float, Difference]]]:
    """What is compared, and temperature to the paired difference, as a share.

    Raises:
        ValueError: a study without one of the arms.
    """
    studies = studies_in(folder)
    for (name, evidence), pair in product(studies.items(), QUESTIONS[folder]):
        where = f", {name}" if len(studies) > 1 else ""
        yield (
            f"`{pair[0]}` less `{pair[1]}`{where}",
            _differences(*(_scores(evidence, label) for label in pair), _sizes(evidence)),
        )
    for one, other, label in ACROSS.get(folder, ()):
        yield (
            f"`{label}` {one} less {other}",
            _differences(
                *(_scores(studies[name], label) for name in (one, other)), _sizes(studies[one])
            ),
        )


def _differences(ours: Scores, theirs: Scores, sizes: Sequence[int]) -> dict[float, Difference]:
    return {heat: paired_difference(ours[heat], theirs[heat], sizes=sizes) for heat in HEATS}


def _sizes(evidence: Evidence) -> list[int]:
    """Test documents of each task."""
    return [len(x) for x in part_values(evidence.study, evidence.runs[0], "test").values()]


def _scores(evidence: Evidence, label: str) -> Scores:
    arm = next((arm for arm in evidence.arms() if arm.label == label), None)
    if arm is None:
        raise ValueError(f"{label}: no arm of {evidence.study.model} on {evidence.study.dataset}")
    seeds = evidence.seeds(arm)
    return {heat: arm_scores(evidence.study, arm, evidence.done, seeds, heat) for heat in HEATS}


def _said(difference: Difference, *, scale: float = 1.0) -> str:
    """The difference with its interval; shares times 100 are points."""
    estimate, low, high = (scale * x for x in (difference.estimate, *difference.interval))
    return f"{estimate:+.1f} [{low:+.1f}, {high:+.1f}]"
