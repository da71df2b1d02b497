"""The rule of every word, over all chat templates that TRL and transformers ship: none is silent.

Protects from a template of a new version that loses a word of a conversation without anyone being told.
"""

import re
from importlib.metadata import version
from typing import Any

import pytest

from advisor.data.dataset import load_dataset
from advisor.data.describe import describe_example
from advisor.errors import InputError
from harness.experiments import chat_templates as templates
from tests.helpers.byte_tokens import byte_tokenizer
from tests.helpers.documentation import build
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.slow

FOUND = dict(templates.packaged())
"""Name and text; what becomes of the rows is measured once, in the fixture."""


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, templates.Outcome]]:
    return {name: templates.outcomes(text) for name, text in FOUND.items()}


def words(value: Any) -> set[str]:
    """The words of a text or nested value that occur nowhere in templates: q..., and 730..."""
    return set(re.findall(r"\bq\w+|\b730\d", str(value)))


def said(message: dict[str, Any]) -> tuple[set[str], set[str]]:
    """What a message says, without its thoughts, and its thoughts."""
    calls = message.get("tool_calls") or message.get("function_call")
    everything = set().union(*(words(value) for value in message.values()))
    thoughts = {word for word in everything if "thought" in word}
    return (words(message["content"]) | words(calls)) - thoughts, thoughts


def test_all_packaged_templates_are_tried() -> None:
    files = {f"TRL {path.stem}" for path in templates.PACKAGED.glob("*.jinja")}
    assert len(files) >= 70 and files < set(FOUND)
    assert {name for name in FOUND if name.startswith("transformers")} >= {
        f"transformers processing_{name}" for name in ("llama4", "qwen2_audio", "smolvlm")
    }


def test_stretches_are_placed_to_the_character_in_every_template() -> None:
    """The thought's words are the answer's and the question's, too: a search would mistake them."""
    content = "<think>\nab ab\n</think>\n\nab cd"
    thought = {"start": 0, "end": content.index("\n\nab"), "weight": 0.5}
    answer = {"start": content.index("ab cd"), "end": len(content), "weight": 3}
    said = {"role": "assistant", "content": content, "spans": [thought, answer]}
    row = {"messages": [{"role": "user", "content": "ab"}, said]}
    refused = set()
    for name, text in FOUND.items():
        dataset = load_dataset([row], byte_tokenizer(), chat_template=text, max_length=20_000)
        try:
            pieces = describe_example(dataset, 0)
        except InputError:
            refused.add(name)
            continue
        weighed = {w: "".join(t for t, weight in pieces if weight == w) for w in (0.5, 3)}
        assert weighed[3] == "ab cd", name
        assert "ab ab" in weighed[0.5] and "cd" not in weighed[0.5], name
    lost = {name for name in FOUND if "deepseekv3" in name}  # that loses the thought itself
    assert lost <= refused and len(refused) <= len(lost) + 2, refused


def test_every_word_is_a_target_or_context_or_the_row_is_refused(
    found: dict[str, dict[str, templates.Outcome]],
) -> None:
    """Checked on what comes out, by words that occur once, not by the code that refuses."""
    for name, rows in found.items():
        for row, outcome in rows.items():
            messages = templates.ROWS[row]["messages"]
            last = max(k for k, m in enumerate(messages) if m["role"] == "assistant")
            if outcome.refusal:
                assert re.search(r"turn \d|refuses the conversation \(", outcome.refusal), (
                    name,
                    row,
                )
                continue
            target, context = words(outcome.target), words(outcome.context)
            for k, message in enumerate(messages):
                spoken, thoughts = said(message)
                if message["role"] != "assistant":
                    assert spoken <= context and not (spoken - {"qtoolname"}) & target, (name, row)
                    continue
                assert spoken <= target, (name, row, k)
                removed = "thought_removed" in outcome.remarks and k < last
                assert thoughts <= target or (removed and not thoughts & target), (name, row, k)


def test_the_page_is_current(found: dict[str, dict[str, templates.Outcome]]) -> None:
    pinned = (ROOT / "constraints.txt").read_text()
    for package in ("trl", "transformers"):
        if f"{package}=={version(package)}" not in pinned:
            pytest.skip(f"another version of {package} ships other templates")
    page = (ROOT / "docs" / "templates.md").read_text(encoding="utf-8")
    right = build.filled(page, build.templates.table_of(found))
    assert page == right, "run python docs/build.py docs/templates.md"
