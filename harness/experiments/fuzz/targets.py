"""The readers of foreign data: for each the files that it reads, whole, and what is done with them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.files import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RESULTS = Path(__file__).parents[3] / "results"
TIME = "2026-01-01T00-00-00.000000"


@dataclass(frozen=True)
class Target:
    """One reader."""

    files: Callable[[], Mapping[str, bytes]]
    """What is whole: names in a folder, and contents."""
    read: Callable[[Path], object]
    """What is done with the folder: the reader, and what is asked of its answer."""
    spared: tuple[str, ...] = ()
    """Files that are never broken: the reader under test is another's."""


@cache
def tokenizer() -> PreTrainedTokenizerBase:
    """One token a letter, with a chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = ["</s>", *map(chr, range(32, 127))]
    backend = Tokenizer(models.WordLevel({c: i for i, c in enumerate(letters)}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")


def _data(path: Path) -> None:
    from advisor.data.dataset import load_dataset

    dataset = load_dataset(path, tokenizer(), max_length=256)
    list(dataset)
    dataset.require_targets()
    assert dataset.notes is not None and dataset.losses() is not None


ROWS: tuple[dict[str, Any], ...] = (
    {"prompt": "one", "completion": "two", "label": True, "weight": 1},
    {"question": "a", "answer": ["b", "b"], "choices": None},
    {"instruction": "do", "input": "x", "output": "y", "history": [["u", "a"]], "system": "be"},
    {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "<think>a</think>b"}]},
    {"input_ids": [1, 2, 3], "labels": [-100, 2, 3], "attention_mask": [1, 1, 1]},
    {"prompt": [{"role": "user", "content": "q"}], "chosen": "a", "rejected": "b"},
    {"text": "a whole text"},
    {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}]},
            {"role": "assistant", "content": None, "tool_calls": [
                {"type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]},
            {"role": "tool", "content": "3", "name": "f"},
            {"role": "assistant", "content": "b", "weight": 1, "reasoning_content": "c"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    },
)  # fmt: skip
"""One for each layout."""


def _each(write: Callable[[list[Any]], str], ending: str) -> dict[str, bytes]:
    """A file for each layout, of two rows."""
    return {f"{i}.{ending}": write([row] * 2).encode() for i, row in enumerate(ROWS)}


def _json_lines(rows: list[Any]) -> str:
    return "\n".join(map(json.dumps, rows))


def _csv() -> dict[str, bytes]:
    return {
        "a.csv": b"question,answer\na,b\n\"c\nd\",\"e,\"\"f\"\n",
        "b.tsv": b"prompt\tcompletion\na\tb\n",
        "c.csv": "\ufeffprompt;completion\n\u00e4;b\nx;y\n".encode(),
        "d.csv": b"id|text\n1|a\n2|b\n",
    }  # fmt: skip


def _record_file(objective: str) -> bytes:
    """A record with everything that one may hold, few documents."""
    records = map(read_json, sorted((RESULTS / "confirm" / "staged" / "runs").glob("*.json")))
    found = next(one for one in records if one["spec"]["arm"]["objective"] == objective)
    found["documents"] = [documents[:3] for documents in found["documents"]]
    found["scores"] = [{**score, "values": score["values"][:3]} for score in found["scores"]][:2]
    found["curve"] = [{"share": 0.5, "seconds": 1, "scores": found["scores"][:1]}]
    found["steps"] = {name: column[:2] for name, column in found["steps"].items()}
    return json.dumps(found).encode()


def _records(folder: Path) -> None:
    from harness.compare.compare import compare
    from harness.records.runs import Results
    from harness.study.from_records import evidence_of

    results = Results(folder)
    runs = results.runs()
    results.frame()
    for run in runs:
        assert run.spec.id and results.find(run.spec) is not None
    evidence_of(runs)
    compare([folder])


def _prior_file() -> bytes:
    return json.dumps(json.loads(_record_file("nll"))["prior"]).encode()


def _prior(folder: Path) -> None:
    from advisor.advice.recommend import recommend
    from advisor.prior.kept import read_prior

    json.dumps(recommend(read_prior(str(folder / "prior.json")).prior, temperature=1.0).to_dict())


def _calibration_file() -> bytes:
    from advisor.advice.calibration import SHIPPED

    found = read_json(SHIPPED)
    found["cells"] = found["cells"][:4]
    found["levels"] = {how: levels[-1:] for how, levels in found["levels"].items()}
    return json.dumps(found).encode()


def _calibration(folder: Path) -> None:
    from advisor.advice.calibration import read
    from advisor.advice.recommend import recommend
    from advisor.prior.prior import Prior

    prior = Prior.from_dict(json.loads(_prior_file()))
    for temperature in (0.0, 1.0):
        recommend(
            prior, temperature=temperature, calibration=read(folder / "calibration.json")
        ).to_dict()


def _lm_eval() -> dict[str, bytes]:
    decoding = {"until": ["\n"], "do_sample": False}
    samples = [
        {"doc_id": i, "doc": {"text": "?"}, "target": "7",
         "arguments": {"gen_args_0": {"arg_0": "t", "arg_1": decoding}},
         "resps": [["7"]], "filtered_resps": ["7"], "filter": "strict", "metrics": ["exact_match"],
         "doc_hash": f"d{i}", "prompt_hash": "p", "target_hash": "t", "exact_match": float(i % 2)}
        for i in range(4)
    ]  # fmt: skip
    results = {
        "results": {"sums": {"alias": "sums", "exact_match,strict": 0.5, "exact_match_stderr,strict": 0.1}},
        "configs": {"sums": {"task": "sums", "metric_list": [{"metric": "exact_match"}], "repeats": 1}},
        "higher_is_better": {"sums": {"exact_match": True}}, "n-shot": {"sums": 0}, "versions": {"sums": 1},
        "config": {"model": "hf", "model_args": {"pretrained": "org/m"}, "limit": None, "gen_kwargs": {}},
        "model_name": "org/m", "n-samples": {"sums": {"original": 4, "effective": 4}},
    }  # fmt: skip
    return {
        f"results_{TIME}.json": json.dumps(results).encode(),
        f"samples_sums_{TIME}.jsonl": _json_lines(samples).encode(),
    }


def _inspect() -> dict[str, bytes]:
    samples = [
        {"id": i, "epoch": 1, "scores": {"match": {"value": "C" if i % 2 else 0.5}}}
        for i in range(3)
    ]
    log = {
        "version": 2, "status": "success", "samples": samples, "plan": {"config": {"temperature": 0.5}},
        "eval": {"task": "sums", "model": "hf/m", "model_args": {"model_path": "a/b"},
                 "model_generate_config": {}},
    }  # fmt: skip
    return {"log.json": json.dumps(log).encode()}


def _tables() -> dict[str, bytes]:
    rows = [{"arm": arm, "document": str(i), "score": i % 2, "task": "t", "seed": 0, "learning_rate": 1e-3}
            for arm in ("nll", "base") for i in range(3)]  # fmt: skip
    cells = "".join(",".join(map(str, row.values())) + "\n" for row in rows)
    return {
        "a.csv": (",".join(rows[0]) + "\n" + cells).encode(), "b.json": json.dumps(rows).encode(),
        "c.jsonl": _json_lines(rows).encode(),
    }  # fmt: skip


def _scores(path: Path) -> None:
    from harness.compare.decide import decide
    from harness.compare.score_files import read_scores

    json.dumps(decide(read_scores([path])[0]).to_dict())


def _plan() -> dict[str, bytes]:
    runs = [{"objective": "nll", "learning_rate": 1e-3, "targets": "demonstrations", "below": 95,
             "decoding": 1.0},
            {"objective": "cadft(1)", "learning_rate": 3e-4}]  # fmt: skip
    return {"plan.json": json.dumps({"plan": {"runs": runs}}).encode()}


def _read_plan(folder: Path) -> None:
    from harness.compare.plan_file import missing, read_plan

    planned = read_plan(folder / "plan.json")
    assert missing(planned, {}) is not None and [one.arm.label for one in planned]


def _provenance(folder: Path) -> None:
    from harness.generate.provenance import Provenance

    for outcome in Provenance(folder / "rows.jsonl", {"model": "m", "seed": 0}).outcomes.values():
        assert outcome.row + 1 and outcome.origin


def _provenance_file() -> bytes:
    outcomes = [{"row": i, "origin": "own", "completion": "x", "own_share": 0.5} for i in range(3)]
    return (_json_lines([{"model": "m", "seed": 0}, *outcomes]) + "\n").encode()


def _checkpoint() -> dict[str, bytes]:
    config = {"model_type": "llama", "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2,
              "intermediate_size": 16, "vocab_size": 16, "max_position_embeddings": 64,
              "architectures": ["LlamaForCausalLM"], "_name_or_path": "a/b"}  # fmt: skip
    index = {"metadata": {"total_size": 1}, "weight_map": {"a": "model-1-of-1.safetensors"}}
    state = {"max_steps": 3, "num_train_epochs": 1, "global_step": 1}
    return {
        "config.json": json.dumps(config).encode(), "trainer_state.json": json.dumps(state).encode(),
        "model.safetensors.index.json": json.dumps(index).encode(),
        "generation_config.json": b'{"do_sample": true, "temperature": 0.7}', "model-1-of-1.safetensors": b"",
        "tokenizer.json": b"{}",
    }  # fmt: skip


def _model_folder(folder: Path) -> None:
    from advisor.model import checkpoint
    from advisor.model.load import context_length
    from harness.train.trained_with import found_in

    name = str(folder)
    checkpoint.check_config(name, folder)
    checkpoint.check_weight_files(folder)
    context_length(folder)
    found_in(folder, {"--max_steps": 3})


def _config(folder: Path) -> None:
    from harness.cli.parser import parse

    parse(["recommend", "m", "d.jsonl", "--config", str(folder / "config.yaml")])


def _each_file(read: Callable[[Path], None]) -> Callable[[Path], None]:
    """The reader of a file, for the one file of a folder."""
    return lambda folder: read(next(folder.iterdir()))


TARGETS: dict[str, Target] = {
    "json": Target(lambda: _each(json.dumps, "json"), _each_file(_data)),
    "jsonl": Target(lambda: _each(_json_lines, "jsonl"), _each_file(_data)),
    "csv": Target(_csv, _each_file(_data)),
    "config": Target(
        lambda: {"config.yaml": b"temperature: 0.5\nlimit: 20\njson: true\ndepth: null\nsplit: [a]\n"},
        _config,
    ),
    "record": Target(
        lambda: {"runs/a.json": _record_file("nll"), "runs/b.json": _record_file("base")},
        _records,
        spared=("runs/b.json",),
    ),
    "lm-eval": Target(_lm_eval, _scores),
    "inspect": Target(_inspect, _scores),
    "scores": Target(_tables, _each_file(_scores)),
    "plan": Target(_plan, _read_plan),
    "prior": Target(lambda: {"prior.json": _prior_file()}, _prior),
    "calibration": Target(lambda: {"calibration.json": _calibration_file()}, _calibration),
    "provenance": Target(lambda: {"rows.jsonl": _provenance_file()}, _provenance),
    "checkpoint": Target(_checkpoint, _model_folder, spared=("model-1-of-1.safetensors", "tokenizer.json")),
}  # fmt: skip
ALONE = ("json", "jsonl", "csv", "scores")
"""Targets whose files are read one by one, each by itself."""
