"""Every chat template that TRL and transformers package, against rows with calls and thoughts.

`docs/templates.md` shows what became of each row; a test checks that all of it is true.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
import trl
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from advisor.data.dataset import SFTDataset, load_dataset
from advisor.data.describe import describe_example
from advisor.errors import InputError

PACKAGED = Path(trl.__file__).parent / "chat_templates"
BOS, EOS = "<begin_of_text>", "<end_of_text>"
TOOL = {
    "type": "function",
    "function": {
        "name": "qtoolname",
        "description": "looks it up",
        "parameters": {
            "type": "object",
            "properties": {"qprop": {"type": "string", "description": "what"}},
            "required": ["qprop"],
        },
    },
}


def call(n: int = 1) -> dict[str, Any]:
    """A call with an id of nine letters, as some templates ask for."""
    function = {"name": "qtoolname", "arguments": {"qprop": f"qvalue{n}", "qnumber": 7300 + n}}
    return {"id": f"abcdefgh{n}", "type": "function", "function": function}


USER = {"role": "user", "content": "quserone asks"}
LAST = {"role": "assistant", "content": "qanslast says"}
RESULT = {
    "role": "tool", "tool_call_id": "abcdefgh1", "name": "qtoolname", "content": "qresult was sunny",
}  # fmt: skip
THOUGHT = "<think>\nqthoughtone\n</think>\n\n"


def assistant(content: str, **keys: Any) -> dict[str, Any]:
    """An assistant's turn."""
    return {"role": "assistant", "content": content, **keys}


ROWS: dict[str, dict[str, Any]] = {
    "text": {"messages": [USER, assistant("qansone says"), {**USER, "content": "quser2"}, LAST]},
    "system": {"messages": [{"role": "system", "content": "qsystem rules"}, USER, LAST]},
    "call": {"messages": [USER, assistant("", tool_calls=[call()]), RESULT, LAST], "tools": [TOOL]},
    "call with text": {
        "messages": [USER, assistant("qlet me look", tool_calls=[call()]), RESULT, LAST],
        "tools": [TOOL],
    },
    "two calls": {
        "messages": [
            USER, assistant("", tool_calls=[call(), call(2)]), RESULT,
            {**RESULT, "tool_call_id": "abcdefgh2", "content": "qother was rainy"}, LAST,
        ],
        "tools": [TOOL],
    },
    "call last": {"messages": [USER, assistant("", tool_calls=[call()])], "tools": [TOOL]},
    "legacy call": {
        "messages": [
            USER,
            {"role": "assistant", "content": None, "function_call": {
                "name": "qtoolname", "arguments": '{"qprop": "qvalue1"}'}},
            {"role": "function", "name": "qtoolname", "content": "qresult was sunny"},
            LAST,
        ],
        "tools": [TOOL],
    },
    "think in text": {"messages": [USER, assistant(THOUGHT + "qansone says")]},
    "reasoning_content": {
        "messages": [USER, assistant("qansone says", reasoning_content="qthoughtone")]
    },
    "reasoning": {"messages": [USER, assistant("qansone says", reasoning="qthoughtone")]},
    "thinking": {"messages": [USER, assistant("qansone says", thinking="qthoughtone")]},
    "earlier think": {
        "messages": [
            USER, assistant(THOUGHT + "qansone says"), {**USER, "content": "quser2"},
            assistant(THOUGHT.replace("one", "two") + "qanslast says"),
        ]
    },
    "earlier reasoning": {
        "messages": [
            USER, assistant("qansone says", reasoning_content="qthoughtone"),
            {**USER, "content": "quser2"},
            assistant("qanslast says", reasoning_content="qthought two"),
        ]
    },
    "think and call": {
        "messages": [
            USER, assistant("", reasoning_content="qthoughtone", tool_calls=[call()]), RESULT,
            assistant("qanslast says", reasoning_content="qthought two"),
        ],
        "tools": [TOOL],
    },
}  # fmt: skip


def byte_level() -> PreTrainedTokenizerFast:
    """A tokenizer of bytes: what a template writes is what is decoded."""
    letters = pre_tokenizers.ByteLevel.alphabet()
    backend = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(t, special=True) for t in (BOS, EOS)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=BOS, eos_token=EOS)


def packaged() -> Iterator[tuple[str, str]]:
    """Name and text of every template that TRL and transformers ship."""
    for path in sorted(PACKAGED.glob("*.jinja")):
        yield f"TRL {path.stem}", path.read_text(encoding="utf-8")
    root = Path(transformers.__file__).parent
    for path in sorted(root.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        if "for message in" in source and "{%" in source:
            for n, text in enumerate(_templates(ast.parse(source))):
                yield f"transformers {path.stem}{f' {n + 1}' if n else ''}", text


def _templates(tree: ast.Module) -> Iterator[str]:
    """Strings of a module that are chat templates; a docstring is an expression by itself."""
    documents = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            loops = "for message in" in node.value and "endfor" in node.value
            if loops and id(node) not in documents:
                yield node.value


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one row."""

    target: str = ""
    """Text of its targets."""
    context: str = ""
    """Text of all else."""
    remarks: frozenset[str] = frozenset()
    """Codes of what was noted."""
    refusal: str = ""
    """The message, where the row is refused."""

    @property
    def word(self) -> str:
        """As the table has it."""
        if self.refusal:
            return "refused"
        word = "note" if "thought_removed" in self.remarks else "in"
        word += ", TRL" if "training_version" in self.remarks else ""
        return word + (", no tools" if "tools_left_out" in self.remarks else "")


def outcomes(template: str) -> dict[str, Outcome]:
    """What becomes of each row under a template."""
    tokenizer = byte_level()
    tokenizer.chat_template = template
    dataset = load_dataset(list(ROWS.values()), tokenizer, max_length=1 << 20)
    return {name: outcome(dataset, i) for i, name in enumerate(ROWS)}


def outcome(dataset: SFTDataset, i: int) -> Outcome:
    """What becomes of row i, which was not tokenised yet."""
    before = dict(dataset.counts.remarks)
    try:
        pieces = describe_example(dataset, i)
    except InputError as error:
        return Outcome(refusal=str(error))
    counts = dataset.counts.remarks
    return Outcome(
        target="|".join(text for text, flag in pieces if flag),
        context="|".join(text for text, flag in pieces if not flag),
        remarks=frozenset(code for code in counts if counts[code] > before.get(code, 0)),
    )
