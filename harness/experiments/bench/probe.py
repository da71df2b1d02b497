"""Scoring the targets of a dataset: ours against lm-eval and the usual padded loop.

Log-probabilities are compared with a float32 run, one example at a time from full logits, before anything
is timed. Tokens per second count real tokens, and the FLOP rate only what has to be computed: the body,
causal attention, and the head on the target rows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from advisor.data.dataset import Example
from advisor.model.load import LoadedModel
from advisor.prior.probe import Probe
from harness.experiments.bench import measure
from harness.experiments.bench.goals import Goal, aligned
from harness.experiments.bench.measure import MIB, Conditions, Ratio, WrongNumbers, ratio, ratio_of
from harness.experiments.bench.models import body_for, make_model, make_pairs, padded

PAIRS, BATCH = 80, 8
LARGE = 100_000  # vocabularies beyond it have the goals of 152k
ERROR = {"float32": 1e-4, "bfloat16": 0.25}
"""Error of one log-probability, nats, beyond which a variant computes something else."""
Record = dict[str, Any]
Scores = list[NDArray[np.float64]]
"""An array an example: the log-probability of each target, or their sum alone."""
Variant = Callable[[PreTrainedModel, Sequence[Example]], Callable[[], Scores]]
"""Prepared outside the clock; what it returns scores."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What one table is about."""

    vocabulary: int = 32_000
    dtype: str = "float32"
    tiny: bool = False

    def __str__(self) -> str:
        return f"{self.vocabulary} {self.dtype}"


def ours(model: PreTrainedModel, pairs: Sequence[Example]) -> Callable[[], Scores]:
    """Our probe, back in the order of the dataset."""
    probe = Probe(loaded(model))

    def score() -> Scores:
        found = {
            id(scored.example): scored.log_p.astype(np.float64)
            for batch in probe.score(pairs)
            for scored in batch
        }
        return [found[id(pair)] for pair in pairs]

    return score


def arrival(model: PreTrainedModel, pairs: Sequence[Example]) -> Callable[[], Scores]:
    """The usual loop: batches in the order of the dataset, padded, masked, full logits."""
    device = str(model.device)

    @torch.no_grad()
    def score() -> Scores:
        scores: Scores = []
        for first in range(0, len(pairs), BATCH):
            batch = padded(list(pairs[first : first + BATCH]), device)
            labels = batch.pop("labels")[:, 1:]
            log_q = model(**batch, use_cache=False).logits[:, :-1].float().log_softmax(-1)
            log_p = log_q.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
            rows = zip(log_p, labels != -100, strict=True)
            scores += [row[mask].double().cpu().numpy() for row, mask in rows]
        return scores

    return score


def lm_eval(model: PreTrainedModel, pairs: Sequence[Example]) -> Callable[[], Scores]:
    """lm-eval's Hugging Face model, batch 8, on pairs already tokenised; gives sums."""
    from lm_eval.models.huggingface import HFLM

    scorer = HFLM(
        pretrained=model,
        tokenizer=loaded(model).tokenizer,
        batch_size=BATCH,
        max_length=model.config.max_position_embeddings,
    )
    requests = []
    for pair in pairs:
        begin = len(pair.input_ids) - pair.target_tokens
        requests.append((("", ""), pair.input_ids[:begin], pair.input_ids[begin:]))

    def score() -> Scores:
        found = scorer._loglikelihood_tokens(requests, disable_tqdm=True)
        return [np.array([total]) for total, _ in found]

    return score


VARIANTS: dict[str, Variant] = {"ours": ours, "lm-eval": lm_eval, "arrival": arrival}


def loaded(model: PreTrainedModel) -> LoadedModel:
    """The random model as the advisor would have loaded it; the tokenizer is never asked."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({"<unk>": 0}, unk_token="<unk>"))
    return LoadedModel(
        model=model,
        tokenizer=PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<unk>"),
        name="random",
        fingerprint="",
        parameters=model.num_parameters(),
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.device),
        kind="unknown",
        notes=(),
    )


def make(case: Case, conditions: Conditions) -> tuple[PreTrainedModel, list[Example]]:
    """Model and pairs of a case."""
    dtype = getattr(torch, case.dtype)
    size = body_for(conditions.device, tiny=case.tiny)
    model = make_model(size, case.vocabulary, dtype, conditions.device, conditions.seed)
    number = 12 if case.tiny else PAIRS
    return model.requires_grad_(False).eval(), make_pairs(number, case.vocabulary, conditions.seed)


def run_case(
    case: Case,
    conditions: Conditions,
    say: Callable[[str], None],
    *,
    replace: Mapping[str, Variant] | None = None,
) -> Record:
    """Check, time and measure one case; `replace` puts variants in the place of others.

    Raises:
        WrongNumbers: our log-probabilities are not those of the float32 run.
    """
    model, pairs = make(case, conditions)
    runs = {}
    for name, build in {**VARIANTS, **(replace or {})}.items():
        if conditions.peers or name == "ours":
            try:
                runs[name] = build(model, pairs)
            except ImportError as error:
                say(f"left out: {name} ({error})")
    errors = _check(exact_scores(model, pairs), runs, ERROR[case.dtype], say)
    multiply, operations = measure.matmul(model.dtype, conditions.device)
    times = measure.interleave({"matmul": multiply, **runs}, conditions)
    peaks = _peaks(case, conditions, runs)
    useful = useful_operations(model, pairs)
    rate = [
        useful / mine / (operations / bare)
        for mine, bare in zip(times["ours"], times["matmul"], strict=True)
    ]
    record = {
        "case": asdict(case),
        "tokens": sum(len(pair.input_ids) for pair in pairs),
        "targets": sum(pair.target_tokens for pair in pairs),
        "gflops": operations / min(times["matmul"]) / 1e9,
        "floor_spread": measure.spread(times["matmul"]),
        "useful_rate": asdict(ratio_of(rate)),
        "variants": {
            name: {"seconds": seconds, **errors.get(name, {}), "peak_extra": peaks.get(name)}
            for name, seconds in times.items()
        },
    }
    say_case(record, say)
    return record


@torch.no_grad()
def exact_scores(model: PreTrainedModel, pairs: Sequence[Example]) -> Scores:
    """The float32 run: one example at a time, log-softmax of full logits in float64."""
    single = copy.deepcopy(model).float()
    scores = []
    for pair in pairs:
        batch = padded([pair], str(model.device))
        targets = batch["labels"][0, 1:]
        rows = (targets != -100).nonzero()[:, 0]
        logits = single(input_ids=batch["input_ids"], use_cache=False).logits[0, rows].double()
        log_p = logits.log_softmax(-1).gather(1, targets[rows, None])[:, 0]
        scores.append(log_p.cpu().numpy())
    return scores


def _check(
    exact: Scores,
    runs: dict[str, Callable[[], Scores]],
    bound: float,
    say: Callable[[str], None],
) -> dict[str, dict[str, float]]:
    """Worst error per token (where tokens are told) and mean error of the sums, by name."""
    errors = {}
    for name in list(runs):
        got = runs[name]()
        sums = [abs(g.sum() - e.sum()) for g, e in zip(got, exact, strict=True)]
        pairs = zip(got, exact, strict=True)
        # A sum alone may be off by what its tokens may be off together.
        worst = max(
            float(abs(g - e).max()) if len(g) == len(e) else off / len(e)
            for (g, e), off in zip(pairs, sums, strict=True)
        )
        if not worst <= bound:
            if name == "ours":
                raise WrongNumbers(f"{name}: log p is off by {worst:.1e} > {bound:g} nats")
            say(f"left out: {name} (log p is off by {worst:.1e})")
            del runs[name]
        errors[name] = {"error": worst, "error_of_sums": float(np.mean(sums))}
    return errors


def useful_operations(model: PreTrainedModel, pairs: Sequence[Example]) -> float:
    """FLOP that scoring cannot do without: body and causal attention on every token, head on targets."""
    config: Any = model.config
    embedding = config.vocab_size * config.hidden_size
    body = 2.0 * (model.num_parameters() - embedding) * sum(len(pair.input_ids) for pair in pairs)
    squares = sum(len(pair.input_ids) ** 2 for pair in pairs)
    attention = 2.0 * squares * config.hidden_size * config.num_hidden_layers
    return float(body + attention + 2.0 * embedding * sum(pair.target_tokens for pair in pairs))


def _peaks(case: Case, conditions: Conditions, runs: Mapping[str, object]) -> dict[str, int | None]:
    if not conditions.memory or not measure.can_measure_memory(conditions.device):
        return {}
    return {
        name: measure.peak_in_fresh_process("probe", conditions, case=asdict(case), variant=name)
        for name in runs
    }


def peak(conditions: Conditions, *, case: dict[str, Any], variant: str) -> int:
    """Peak memory of one variant in this process, bytes."""
    model, pairs = make(Case(**case), conditions)
    run = VARIANTS[variant](model, pairs)
    VARIANTS[variant](model, pairs[:2])()
    return measure.peak_extra(run, conditions.device)


def say_case(record: Record, say: Callable[[str], None]) -> None:
    """The table of one case."""
    times = {name: found["seconds"] for name, found in record["variants"].items()}
    say(
        f"\nprobe {Case(**record['case'])}: {record['tokens']} tokens, {record['targets']} targets; "
        f"matmul {record['gflops']:.0f} GFLOP/s, its spread {record['floor_spread']:.0%}"
    )
    rows = [("", "tokens/s", "/ ours", "error of log p", "mean error of sums", "peak extra, MiB")]
    for name, found in record["variants"].items():
        if name == "matmul":
            continue
        extra = found["peak_extra"]
        rows.append(
            (
                name,
                f"{record['tokens'] / min(times[name]):.0f}",
                str(ratio(times[name], times["ours"])),
                f"{found['error']:.1e}",
                f"{found['error_of_sums']:.1e}",
                "" if extra is None else f"{extra / MIB:.0f}",
            )
        )
    for line in aligned(rows):
        say(line)


def goals(records: Sequence[Record]) -> list[Goal]:
    """What the cases say of the probe's goals."""
    return [goal for record in records for goal in _goals_of(record)]


def _goals_of(record: Record) -> Iterator[Goal]:
    found, case = record["variants"], Case(**record["case"])
    large, single, where = case.vocabulary > LARGE, case.dtype == "float32", str(case)
    times = {name: variant["seconds"] for name, variant in found.items()}
    bounds = {"lm-eval": 1.7, "arrival": 3.0}
    if large:
        bounds = {"lm-eval": 2.6 if single else 2.8, "arrival": 6.0}
    for name, peer in (("P1", "lm-eval"), ("P2", "arrival")):
        if peer in times and (large or single):
            measured = ratio(times[peer], times["ours"])
            what = f"{peer} / ours, time"
            yield Goal(
                name=name,
                what=what,
                where=where,
                bound=bounds[peer],
                measured=measured,
                at_least=True,
            )
    rate = Ratio(**record["useful_rate"])
    bound = 0.65 if single else 0.35
    what = "useful FLOP rate / matmul rate"
    yield Goal(name="P4", what=what, where=where, bound=bound, measured=rate, at_least=True)
    if "lm-eval" not in found:
        return
    mine, theirs = found["ours"]["peak_extra"], found["lm-eval"]["peak_extra"]
    if large and mine is not None and theirs is not None:
        measured = ratio_of([mine / theirs])
        yield Goal(
            name="P3", what="peak, ours / lm-eval", where=where, bound=0.1, measured=measured
        )
    if not single:
        share = found["ours"]["error_of_sums"] / found["lm-eval"]["error_of_sums"]
        what = "error of sums, ours / lm-eval"
        yield Goal(name="A2", what=what, where=where, bound=0.15, measured=ratio_of([share]))
