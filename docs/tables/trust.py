"""The tables of `reliability.md` on broken files, and on all that was tried."""

from collections import defaultdict

from harness.experiments.fuzz.__main__ import read_ledger
from harness.experiments.kills.ledger import read
from tables.markdown import RESULTS, ROOT, read_json, table

FUZZED = ("reader", "broken files", "read", "refused in a line", "crashes")
TRIED = ("tried", "tries", "failed", "lost", "others' test of the kind")
INSPECT = "inspect_ai kills an evaluation at work, in its scorer, and while files go out (`tests/checkpoint`)"
RAY = "Ray kills nodes at random under load (`release/nightly_tests/chaos_test`)"
OPTUNA = "Optuna opens databases of seven releases, 0.9 to 3.4 (`test_upgrade_assets`)"


def tables() -> dict[str, str]:
    """Those of the page."""
    return {"fuzz": _fuzzed(), "trust": _tried()}


def _fuzzed() -> str:
    """A line a reader, over all seeds."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for line in read_ledger(RESULTS / "fuzz.jsonl"):
        crashes = sum(line["crashes"].values())
        for name in (line["target"], "all"):
            counts = (line["inputs"], line["read"], line["refused"], crashes)
            sums[name] = [a + b for a, b in zip(sums[name], counts, strict=True)]
    names = sorted(sums, key=lambda name: (name == "all", -sums[name][0]))
    return table(FUZZED, ([name, *(f"{n:,}" for n in sums[name])] for name in names))


def _tried() -> str:
    """A line for each kind of fault."""
    kills = read(RESULTS / "kills" / "ledger.jsonl")
    nodes = [one for one in read_json(RESULTS / "nodes.json")["cases"] if one["killed"] is not None]
    fuzzed = read_ledger(RESULTS / "fuzz.jsonl")
    formats = sorted((ROOT / "tests" / "records").glob("schema-*.json"))
    rows = [
        ("a process killed", sum(one.kills for one in kills), 0,
         sum(len(one.lost) for one in kills), INSPECT),
        ("a node of three, or its process, killed in a study of 25 records", len(nodes),
         sum(one["failed"] for one in nodes), sum(len(one["differ"]) for one in nodes), RAY),
        ("a broken file read", sum(line["inputs"] for line in fuzzed),
         sum(sum(line["crashes"].values()) for line in fuzzed), 0, ""),
        ("a record of an earlier form opened", len(formats), 0, 0, OPTUNA),
    ]  # fmt: skip
    return table(TRIED, ([row[0], *(f"{n:,}" for n in row[1:4]), row[4]] for row in rows))
