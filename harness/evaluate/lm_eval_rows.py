"""What lm-eval logs of documents, in the forms of its versions 0.4.2 to 0.4.13, brought into one.

| since  | in the samples |
|--------|----------------|
| 0.4.2  | a JSON array; arguments as lists; neither hashes nor filter nor names of metrics |
| 0.4.3  | a JSON object a line; arguments by name; `doc_hash`, `prompt_hash` |
| 0.4.7  | `filter`, `metrics` |

Before 0.4.7 the rows of a task's first filter precede those of the second, on every rank.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from advisor.errors import InputError
from advisor.files import parse_json
from harness.records.metrics import NO_FILTER

Record = Mapping[str, Any]
"""What lm-eval logs for one document under one filter."""
NO_METRICS = {
    "doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics",
    "doc_hash", "prompt_hash", "target_hash", "bypass",
}  # fmt: skip
"""Keys of a record that are no metrics; `bypass` stands for none."""
OF_THE_TEMPERATURE = ("temperature", "do_sample")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One document under one filter."""

    document: str
    """Hash of its content, 16 hex digits."""
    filter: str | None
    """None where answers are taken as they are."""
    values: Mapping[str, Any]
    """What was logged for it, by metric."""
    prompt: str | None
    """Hash of what the model was asked; None where it is not known."""


def parse(text: str) -> list[Record]:
    """The records of a samples file.

    Raises:
        ValueError, LookupError, TypeError: it is none.
    """
    if text.lstrip().startswith("["):
        records = parse_json(text)
    else:  # lm-eval leaves line separators such as U+2028 inside its strings: only \n ends a record
        records = [parse_json(line) for line in text.split("\n") if line.strip()]
    for record in (records[0], *records):
        _ = record["doc_id"], record["doc"], record["arguments"][next(iter(_keys(record)))]
    return list(records)


def _keys(record: Record) -> Sequence[Any]:
    """Where the arguments of a record's requests stand."""
    arguments = record["arguments"]
    return list(arguments) if isinstance(arguments, Mapping) else range(len(arguments))


def rows_of(records: Sequence[Record], filters: Sequence[str]) -> list[Row]:
    """The documents of records, in their order.

    Args:
        records: of one task.
        filters: names of the task's filters in its order, used where the records do not say theirs.

    Raises:
        InputError: records do not say their filter, and it cannot be told.
    """
    named = [str(record.get("filter", "")) for record in records]
    if not all(named):
        named = _in_turn(records, filters)
    return [_row(record, chosen) for record, chosen in zip(records, named, strict=True)]


def _in_turn(records: Sequence[Record], filters: Sequence[str]) -> list[str]:
    """Filters by how many records of the same document precede one's own."""
    several = Counter(record["doc_id"] for record in records)
    if len(filters) <= 1 and (filters or set(several.values()) == {1}):
        return [*(filters or [NO_FILTER])] * len(records)
    if set(several.values()) != {len(filters)}:
        raise InputError(
            f"its records do not say their filter, and are not {len(filters) or 'one'} to a document: keep "
            "the results file beside it, or evaluate with lm-eval 0.4.7 or later"
        )
    seen: Counter[Any] = Counter()
    named = []
    for record in records:
        named.append(filters[seen[record["doc_id"]]])
        seen[record["doc_id"]] += 1
    return named


def _row(record: Record, chosen: str) -> Row:
    names = record.get("metrics") or [name for name in record if name not in NO_METRICS]
    return Row(
        document=_document(record),
        filter=None if chosen == NO_FILTER else chosen,
        values={name: record[name] for name in names if name in record},
        prompt=record.get("prompt_hash"),
    )


def _document(record: Record) -> str:
    """Hash of the document, computed as lm-eval does since 0.4.3 where the record has none."""
    found = record.get("doc_hash")
    if not found:
        text = json.dumps(record["doc"], indent=2, ensure_ascii=False, default=str)
        found = hashlib.sha256(text.encode()).hexdigest()
    return str(found)[:16]


def decoding_of(records: Sequence[Record]) -> Mapping[str, Any] | None:
    """How the answers were generated, of the first record; None where nothing was."""
    request = records[0]["arguments"][_keys(records[0])[0]]
    given = list(request.values()) if isinstance(request, Mapping) else list(request)
    decoding = given[1] if len(given) > 1 else None  # a likelihood's second is the continuation
    return decoding if isinstance(decoding, Mapping) else None


def temperature_of(decoding: Mapping[str, Any] | None) -> float | None:
    """The temperature of generated answers as lm-eval reads it; None where nothing is generated."""
    if decoding is None:
        return None
    given = decoding.get("temperature")
    sampled = decoding.get("do_sample", (given or 0) > 0)
    return (1.0 if given is None else float(given)) if sampled else 0.0
