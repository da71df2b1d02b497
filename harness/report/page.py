"""From a folder of records to a page: reads, judges, renders, writes; the effects of `advisor report`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from advisor.errors import InputError
from advisor.files import find
from harness.compare.compare import Comparison, compare
from harness.compare.lm_eval_logs import find_logs
from harness.compare.plan_decision import PlanDecision
from harness.plots import Gain
from harness.records.arm import LOGGED
from harness.records.runs import Results, Run, read_run
from harness.report.figures import Figure, continuum, gains, published_gains
from harness.report.filled import fill, write_page
from harness.report.plan_view import carried_out
from harness.report.section import Section, comparison_section, study_section, titles_of
from harness.study.afterwards import afterwards_of
from harness.study.contrasts import Row
from harness.study.from_records import Evidence, belongs, evidence_of, studies_of
from harness.study.verdict import Verdict, settle

PUBLISHED = "published.csv"
"""Cells of published tables, looked for in the folder and the two above it."""
UNFINISHED = ("Not complete", "Not settled")
"""How headlines of studies begin that are not at their end."""
MALFORMED = (KeyError, TypeError, ValueError, IndexError, AttributeError, StopIteration)
"""What records that `advisor confirm` did not write may lead to."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """A page that has been written."""

    path: Path
    """Of the page."""
    headlines: tuple[str, ...]
    """One sentence per study, after its title where there are several."""


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What lies in a folder."""

    runs: dict[Path, Run]
    """Finished, each specification once."""
    failed: tuple[Run, ...]
    logs: tuple[Path, ...]
    """Samples that lm-eval has logged."""


@dataclass(frozen=True, kw_only=True)
class _Case:
    """A study, its verdict, and the runs of it that failed."""

    evidence: Evidence
    verdict: Verdict | None
    comparison: Comparison | None
    """In place of a verdict."""
    decision: PlanDecision | None = None
    """In place of both, of a plan."""
    failed: tuple[Run, ...]

    def gains(self, domain: str | None = None) -> list[Gain]:
        """Points of the continuum."""
        return [] if self.verdict is None else gains(self.evidence, self.verdict, domain=domain)


def write_report(
    folder: Path | str,
    output: Path | str | None = None,
    *,
    margin: float | None = None,
    **score: Any,
) -> Report:
    """Write one HTML page about everything recorded under a folder.

    Args:
        folder: holds `runs/` and `failed/` as `advisor confirm` writes them, or lm-eval's logged samples, at
            any depth.
        output: the page; by default `report.html` in the folder.
        margin: difference that does not matter; None: one point for shares, none for other units.
        score: `metric`, `filter`, `higher_is_better` of lm-eval's logs, see `compare`.

    Raises:
        InputError: not a folder, nothing in it, a broken record, or a page that cannot be written.
    """
    root, there = find(str(folder))
    if there != "folder":
        raise InputError(
            f"{root}: not a folder: give the one that `advisor confirm --results` wrote"
        )
    path, there = find(str(root / "report.html" if output is None else output))
    if there == "folder":
        raise InputError(
            f"--output_path {path}: a folder: give a file such as {path / 'report.html'}"
        )
    found = _find(root)
    try:
        cases = _cases(found, margin)
        sections = _sections(root, found, cases, margin, score)
        text = render(sections, margin=margin, overview=_overview(root, cases))
    except InputError:
        raise
    except MALFORMED as error:
        raise InputError(
            f"{root}: the records are not as `advisor confirm` writes them "
            f"({type(error).__name__}: {error}): move foreign ones out of the folder"
        ) from None
    write_page(path, text)
    several = len(sections) > 1
    return Report(
        path=path,
        headlines=tuple(f"{s.title}: {s.headline}" if several else s.headline for s in sections),
    )


def render(
    sections: Sequence[Section], *, margin: float | None = None, overview: Figure | None = None
) -> str:
    """The page of some sections; every text is escaped, and what a reader cannot see is spelt out.

    Args:
        sections: in the order of the page.
        margin: difference that does not matter; None: one point.
        overview: a figure of all studies, shown where there are several.
    """
    return fill(
        "page.html",
        sections=sections,
        overview=overview,
        unfinished=sum(section.headline.startswith(UNFINISHED) for section in sections),
        margin=margin,
    )


def _find(root: Path) -> _Found:
    runs: dict[str, tuple[Path, Run]] = {}
    failed: dict[str, Run] = {}
    for path in (*sorted(root.rglob("runs/*.json")), *sorted(root.rglob("failed/*.json"))):
        run = read_run(path)
        if run.error is None:
            runs.setdefault(run.spec.id, (path, run))
        else:
            failed.setdefault(run.spec.id, run)
    logs = tuple(sorted(log.path for log in find_logs(root)))
    if not (runs or failed or logs):
        raise InputError(
            f"{root}: holds neither run records nor lm-eval's samples: give the folder that "
            "`advisor confirm --results` wrote"
        )
    return _Found(runs=dict(runs.values()), failed=tuple(failed.values()), logs=logs)


def _cases(found: _Found, margin: float | None) -> list[_Case]:
    """Every study that has a finished run, then those that have only failures."""
    studies = evidence_of(list(found.runs.values()), found.failed)
    cases = [_judge(evidence, found, margin) for evidence in studies]
    known = {run.spec.id for case in cases for run in case.failed}
    orphans = [run for run in found.failed if run.spec.id not in known]
    return cases + [
        _Case(
            evidence=Evidence(study=study, runs=()),
            verdict=None,
            comparison=None,
            failed=tuple(run for run in orphans if belongs(run.spec, study)),
        )
        for study in studies_of([run.spec for run in orphans])
    ]


def _judge(evidence: Evidence, found: _Found, margin: float | None) -> _Case:
    settled, folder = evidence.obstacle() is None, _folder_of(evidence, found)
    decision = carried_out(evidence, folder, margin)
    compared = None if settled or decision else _compare(evidence, found, margin)
    return _Case(
        evidence=evidence,
        verdict=_settled(evidence, folder, margin) if settled else None,
        comparison=compared,
        decision=decision,
        failed=tuple(run for run in found.failed if belongs(run.spec, evidence.study)),
    )


def _settled(evidence: Evidence, folder: Path, margin: float | None) -> Verdict:
    """A verdict, with what continuing the arms has come to."""
    continued = Results(folder).afterwards()
    return replace(
        settle(evidence.study, evidence.runs, margin=margin),
        afterwards=afterwards_of(evidence.study, evidence.runs, continued),
    )


def _folder_of(evidence: Evidence, found: _Found) -> Path:
    """Where the runs of a study lie, beside its checkpoints: `confirm` keeps them in one folder."""
    own = evidence.done
    return next(path.parent.parent for path, run in found.runs.items() if run.spec.id in own)


def _compare(evidence: Evidence, found: _Found, margin: float | None) -> Comparison | None:
    """What can be compared of a study that cannot be settled; None where that is nothing."""
    own = evidence.done
    try:
        return compare(
            [path for path, run in found.runs.items() if run.spec.id in own], margin=margin
        )
    except InputError:
        return None


def _sections(
    root: Path,
    found: _Found,
    cases: Sequence[_Case],
    margin: float | None,
    score: Mapping[str, Any],
) -> list[Section]:
    sections = [
        study_section(
            case.evidence,
            case.verdict,
            case.comparison,
            case.failed,
            None if len(cases) > 1 else _published(root),
            title=title,
            margin=margin,
            decision=case.decision,
        )
        for case, title in zip(cases, titles_of([case.evidence for case in cases]), strict=True)
    ]
    return sections + (_of_logs(root, margin, score) if found.logs else [])


def _of_logs(root: Path, margin: float | None, score: Mapping[str, Any]) -> list[Section]:
    """What lm-eval's logs say, alone and beside the studies of the folder."""
    whole = compare([root], margin=margin, **score)
    of_logs = replace(
        whole, rows=tuple(row for row in whole.rows if _is_logged(row, whole.of_logs))
    )
    return [comparison_section(of_logs, margin=margin)] if of_logs.rows else []


def _is_logged(row: Row, of_logs: Collection[str]) -> bool:
    return row.task in of_logs or LOGGED in (row.arm.targets, row.baseline.targets)


def _overview(root: Path, cases: Sequence[_Case]) -> Figure | None:
    points = [gain for case in cases for gain in case.gains()]
    return continuum([*_published(root), *points]) if points and len(cases) > 1 else None


def _published(root: Path) -> list[Gain]:
    """The published cells nearest to the folder; none where there is no such file."""
    whole = root.resolve()
    near = (place / PUBLISHED for place in (whole, *whole.parents[:2]))
    path = next((path for path in near if path.is_file()), None)
    return [] if path is None else published_gains(path)
