"""The ladder's card: one machine-written entry per rung, and the table that people read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

COLUMNS = ("rung", "pretraining steps", "demonstrations", "mean p", "greedy accuracy, %")


def read_card(root: Path) -> dict[str, Any]:
    """Reads `card.json` of a build's output; empty if there is none."""
    path = root / "card.json"
    card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return card


def update_card(root: Path, rung: str, entry: Mapping[str, object]) -> None:
    """Writes one rung's entry into `card.json` and leaves the others."""
    text = json.dumps(read_card(root) | {rung: entry}, indent=2)
    (root / "card.json").write_text(text + "\n", encoding="utf-8")


def card_table(card: Mapping[str, Any]) -> str:
    """The card as a Markdown table."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *(_cells(*item) for item in card.items())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(name: str, entry: Mapping[str, Any]) -> list[str]:
    rung, prior = entry["rung"], entry["prior"]
    noise = f", {rung['rate']:.0%} {rung['noise']}" if rung["noise"] != "none" else ""
    accuracy = ", ".join(
        f"{skill} {100 * share:.0f}" for skill, share in entry["greedy_accuracy"].items()
    )
    demonstrations = f"{rung['rows']} of `{rung['skill']}`{noise}"
    return [name, str(rung["step"]), demonstrations, f"{prior['mean_p']:.3f}", accuracy]
