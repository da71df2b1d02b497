"""The table of `confirm.md` on a cluster that loses a node, from `harness.experiments.nodes`."""

from tables.markdown import RESULTS, read_json, table

HEAD = (
    "executed", "killed", "records by then", "records at the end", "failed", "records that differ",
)  # fmt: skip


def tables() -> dict[str, str]:
    """A line for the study made here, and one for each case on the cluster."""
    rows = []
    for found in read_json(RESULTS / "nodes.json")["cases"]:
        ends = (f"{found['runs']}", f"{found['failed']}")
        if found["killed"] is None:
            rows.append(("here", "", "", *ends, ""))
            continue
        by_then = "" if found["killed_at"] is None else f"{found['killed_at']}"
        rows.append(("Ray", found["killed"], by_then, *ends, f"{len(found['differ'])}"))
    return {"nodes": table(HEAD, rows)}
