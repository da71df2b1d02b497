"""The table of `results/README.md`: every recorded study and what it says."""

from harness.records.runs import Results
from harness.study.from_records import Evidence, evidence_of
from harness.study.verdict import settle
from tables.markdown import RESULTS, table

HEAD = ("folder", "model", "dataset", "optimiser", "arms", "runs", "verdict")


def tables() -> dict[str, str]:
    """A row for every study of every folder in `results/confirm/`."""
    folders = sorted(path for path in (RESULTS / "confirm").iterdir() if (path / "runs").is_dir())
    rows = [
        (f"[{folder.name}](confirm/{folder.name})", *_cells(evidence))
        for folder in folders
        for evidence in evidence_of(Results(folder).runs())
    ]
    return {"studies": table(HEAD, rows)}


def _cells(evidence: Evidence) -> tuple[str, ...]:
    study = evidence.study
    verdict = settle(study, evidence.runs)
    arms = ", ".join(f"`{label}`" for label in study.objectives)
    names = (f"`{name}`" for name in (study.model, study.dataset))
    said = verdict.headline.replace("|", "\\|")
    optimiser = str(study.training.get("optim", "adamw"))
    return (*names, optimiser, arms, str(len(evidence.runs)), said)
