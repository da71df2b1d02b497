"""What is killed: tiny studies and trainings on the ladder, and what of their outcome has to be the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.experiments.kills.places import DISTILL, LOADED, PLAN, RACE, REWRITE, TRAIN
from harness.experiments.same_twice import without
from harness.ladder import resolve

OF_TIME = ("seconds", "at", "spent", "peak_memory_bytes", "environment", "step_time", "train_runtime",
           "train_samples_per_second", "train_steps_per_second", "train_loss")  # fmt: skip
"""Names in a record of what is not the same twice: times, memory, and the machinery, of which somebody may
install another version meanwhile. `train_loss` is transformers' mean over the steps since the last start; the
loss of every step stands beside it."""
SCORER = """
case "$(cat "$ADVISOR_KILLS_FLAG" 2>/dev/null)" in
    child) rm "$ADVISOR_KILLS_FLAG"; kill -KILL $$ ;;
    parent) rm "$ADVISOR_KILLS_FLAG"; kill -KILL $PPID ;;
esac
exec awk '{ print length($0) % 2 }'
"""
"""A scorer's command that kills itself or who called it, once, where it is told to."""
ROWS, FEW = 64, 24
"""Of a study with a scorer, and of a rewriting."""
STEPS = ["--max_steps", "12", "--save_steps", "3", "--logging_steps", "1",
         "--per_device_train_batch_size", "2", "--resume_from_checkpoint", "true"]  # fmt: skip
HINT = "{question}{answer}${question}"
"""In the language of the ladder, where $ ends a text."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """A command that is killed and started again."""

    words: tuple[str, ...]
    """Of the command line, without the folder."""
    flag: str
    """Of the folder of what comes out."""
    file: str = ""
    """What comes out in that folder, where a file is asked for."""

    @property
    def trains(self) -> bool:
        """Whether it is one training, not a study."""
        return self.words[0] in ("train", "distill")

    def command(self, folder: Path) -> list[str]:
        """All of the command line."""
        return [*self.words, self.flag, str(folder / self.file)]


def works(folder: Path) -> dict[str, Work]:
    """By name; what they read beside the ladder is written into a folder."""
    strong, data = resolve("strong")
    model = _tiny(strong, folder / "tiny")
    own = folder / "rows.jsonl"
    lines = Path(data).read_text(encoding="utf-8").splitlines(keepends=True)
    own.write_text("".join(sorted(lines, key=len)[:ROWS]))
    few, hint = folder / "few.jsonl", folder / "hint.txt"
    few.write_text("".join(lines[:FEW]))
    hint.write_text(HINT)
    scorer = folder / "scorer.sh"
    scorer.write_text(SCORER)
    study, output = "--results", "--output_dir"
    pair = (str(model), str(own))
    train = ("train", *pair, "--objective", "cadft", *STEPS)
    confirm = ("confirm", *pair, "--temperature", "0", "--max_steps", "3", "--logging_steps", "1",
               "--per_device_train_batch_size", "2",
               "--scorer", f"sh {scorer}", "--json", "--limit")  # fmt: skip
    return {
        PLAN: Work(words=(*confirm, "6", "--plan", "six"), flag=study),
        RACE: Work(words=(*confirm, "20", "--plan", "race", "--point_cost", "20"), flag=study),
        TRAIN: Work(words=train, flag=output),
        LOADED: Work(words=(*train, "--dataloader_num_workers", "1"), flag=output),
        DISTILL: Work(words=("distill", *pair, "--teacher", "ladder:mid", *STEPS,
                             "--max_completion_length", "6"), flag=output),
        REWRITE: Work(words=("rewrite", str(strong), str(few), "--hint", str(hint), "--marker", "none",
                             "--temperature", "1", "--batch_size", "4"), flag="--output_path",
                      file="new.jsonl"),
    }  # fmt: skip


def measure_once(work: Work) -> None:
    """Have `confirm`, in this process and its children, take what is measured of a pair from here.

    It is most of the time of a start, and none of what is killed.
    """
    from advisor.advice import recommend as advice
    from advisor.options import DataOptions, ModelOptions
    from harness.cli import confirm
    from harness.cli.inputs import measure, read_pair
    from harness.ladder.named_pair import pair_of

    loaded, dataset = read_pair(pair_of(*work.words[1:3]), ModelOptions(), DataOptions())
    prior = measure(loaded, dataset)
    found = advice.recommend(prior, temperature=0.0)
    vars(confirm)["measure"] = lambda *rest: prior
    vars(advice)["recommend"] = lambda *rest, **more: found


def _tiny(model: Path, folder: Path) -> Path:
    """A random model of two layers with the tokenizer of another one, saved."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    tokenizer = AutoTokenizer.from_pretrained(model)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, intermediate_size=16, max_position_embeddings=128,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def outcome(folder: Path) -> dict[str, object]:
    """Every file that a study or a training has left, by its place: what has to be the same without kills.

    Of JSON the value without times, of weights the bytes, of all else that it is there.
    """
    return dict(_parts(folder))


def _parts(folder: Path) -> Iterator[tuple[str, object]]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name.startswith("failed/"):  # the last failure stays, also where a retry went well
            continue
        if path.suffix == ".json":
            yield name, without_times(json.loads(path.read_text(encoding="utf-8")))
        elif path.suffix == ".safetensors" or name.startswith("new."):
            yield name, path.read_bytes()
        elif not name.startswith("leases/"):  # a lock stays, and says nothing
            yield name, None


def without_times(value: Any) -> Any:
    """A value of JSON without what is not the same twice (see `OF_TIME`)."""
    return without(value, OF_TIME)


def differing(
    found: Mapping[str, object], whole: Mapping[str, object]
) -> tuple[list[str], list[str]]:
    """What is missing or not the same, and what is left over, by name."""
    missing = object()
    lost = [name for name, value in whole.items() if found.get(name, missing) != value]
    return lost, [name for name in found if name not in whole]
