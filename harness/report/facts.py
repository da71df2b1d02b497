"""How a study was measured, in words: model, data, decoding, machinery, and the command.

Pure: records in, texts out.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from advisor.advice.published_rule import MIDDLE_REGIME, STRONG, STRONG_REGIME, WEAK, WEAK_REGIME
from advisor.errors import InputError
from advisor.files import find
from advisor.options import DataOptions, setting_words, switches
from harness.records.runs import Run
from harness.study.afterwards import Afterwards
from harness.study.from_records import Evidence
from harness.study.study import Study
from harness.study.study_options import GRPO

OWN_TASKS = (("held_out",), ("held_out_scored",), ("held_out_choice",))
"""Tasks made of rows of the user's own dataset where none is given, see `harness.evaluate.split`."""
SCORING = (
    "scorer", "answer_regex", "include_path", "dtype", "metric", "filter", "higher_is_better", "num_fewshot",
    "fewshot_as_multiturn",
)  # fmt: skip
"""Flags that stand among the settings of evaluation only where they were given."""
HOUR, MINUTE = 3600, 60
Fact = tuple[str, str]


def decoding(temperature: float) -> str:
    """How answers are decoded, as the end of a title."""
    return "greedy decoding" if temperature == 0 else f"sampled at temperature {temperature:g}"


def short(name: str) -> str:
    """A model or dataset in a headline: of a path its last part, of what is on the hub all of it."""
    try:
        path, there = find(name)
    except InputError:  # no path can be called so
        return name
    elsewhere = path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1
    return path.resolve().name if there or elsewhere else name


def command(evidence: Evidence, afterwards: Afterwards | None = None) -> str:
    """The `advisor confirm` that would do the study again, a line per flag, as a shell takes it."""
    study = evidence.study
    names = (study.model,) if study.dataset == study.model else (study.model, study.dataset)
    flags: dict[str, Sequence[object]] = {
        "split": (study.split,),
        **{name: (value,) for name, value in (study.reading or {}).items()},
        "tasks": () if study.tasks in OWN_TASKS else study.tasks,
        "guard": study.guards,
        "apply_chat_template": _chat(study),
        **{name: (study.evaluation.get(name),) for name in SCORING},
        "teacher": _teachers(study.teachers),
        "route": ((study.teachers or {}).get("route"),),
        **_arms(study),
        "temperature": (_exact(study.temperature),),
        "repeats": (study.evaluation.get("repeats"),),
        "limit": (study.evaluation.get("limit"),),
        **{name: _values(value) for name, value in study.training.items()},
        **({"then": (GRPO,), "then_steps": (afterwards.steps,)} if afterwards else {}),
    }
    lines = [
        _flag(name, values) for name, values in flags.items() if values and values[0] is not None
    ]
    lines += ["--full"] if study.full else []
    return " \\\n    ".join((shlex.join(("advisor", "confirm", *names)), *lines))


def _arms(study: Study) -> dict[str, Sequence[object]]:
    """What says which runs: the plan, or arms, rates and seeds."""
    if study.plan:
        return {"plan": (study.plan,)}
    return {
        "objectives": study.objectives,
        "learning_rates": list(map(_exact, study.learning_rates)),
        "seeds": (len(study.seeds),),
    }


def _chat(study: Study) -> tuple[str, ...]:
    """Whether given tasks were asked as chats: without the flag that hangs on the dataset."""
    if study.tasks in OWN_TASKS:
        return ()
    return (str(bool(study.evaluation.get("apply_chat_template", False))).lower(),)


def _exact(number: float) -> str:
    """The shortest digits that are read back as the same number."""
    short = f"{number:g}"
    return short if float(short) == number else repr(float(number))


def _values(value: Any) -> list[str]:
    return list(map(str, value if isinstance(value, list) else [value]))


def _flag(name: str, values: Sequence[object]) -> str:
    """A flag with its values; one that begins like a flag itself is tied to it."""
    if name in switches(DataOptions):
        return f"--{name}"
    return shlex.join(setting_words(name, list(values)))


def measured(evidence: Evidence) -> list[Fact]:
    """Name and text of everything that a reader needs to judge the study or to do it again."""
    study, runs = evidence.study, evidence.runs
    prior = evidence.prior
    facts = [
        ("Model", _named(study.model, study.model_fingerprint, _of_model(prior))),
        ("Dataset", _named(study.dataset, study.dataset_fingerprint, _of_dataset(prior))),
        ("Split", study.split or ""),
        ("Weights of the data", prior.get("weights", "")),
        ("Teachers", _of_teachers(study.teachers)),
        ("Prior", _of_prior(prior)),
        ("Tasks", "; ".join(_of_tasks(runs)) or ", ".join(study.tasks)),
        ("Guards", ", ".join(study.guards)),
        ("Decoding", _of_decoding(evidence)),
        ("Learning rates", ", ".join(f"{rate:g}" for rate in study.learning_rates)),
        ("Seeds", ", ".join(map(str, study.seeds))),
        ("Runs", _of_runs(evidence)),
        ("Training", ", ".join(" ".join((n, *_values(v))) for n, v in study.training.items())),
        ("Cost", _cost(runs)),
        ("Device", _distinct(_device(run) for run in runs)),
        ("Software", "; ".join(_versions(runs))),
    ]
    return [(name, text) for name, text in facts if text]


def of_pair(model: str, dataset: str, prior: Mapping[str, Any]) -> list[Fact]:
    """Name and text of a model, a dataset and the prior that was measured of them; `Prior.to_dict()`."""
    marks = (prior["model"].get("fingerprint", ""), prior["dataset"].get("fingerprint", ""))
    return [
        ("Model", _named(model, marks[0], _of_model(prior))),
        ("Dataset", _named(dataset, marks[1], _of_dataset(prior))),
        ("Prior", _of_prior(prior)),
    ]


def duration(seconds: float) -> str:
    """`1 h 02 min`, `3 min 07 s` or `4.5 s`."""
    if seconds < MINUTE:
        return f"{seconds:.1f} s"
    unit, names = (HOUR, ("h", "min")) if seconds >= HOUR else (MINUTE, ("min", "s"))
    whole, rest = divmod(round(seconds / (unit / 60)), 60)
    return f"{whole} {names[0]} {rest:02d} {names[1]}"


def size(count: float) -> str:
    """Bytes as MiB or GiB."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _named(name: str, fingerprint: str, more: Sequence[str]) -> str:
    mark = [f"fingerprint {fingerprint}"] if fingerprint else []
    return ", ".join([name, *mark, *more])


def _teachers(teachers: Mapping[str, Any] | None) -> list[str]:
    """As `--teacher` takes them."""
    models = (teachers or {}).get("models", {})
    named = (teachers or {}).get("route") is not None
    return [f"{key}={of['name']}" if named else of["name"] for key, of in models.items()]


def _of_teachers(teachers: Mapping[str, Any] | None) -> str:
    if not teachers:
        return ""
    found = [_named(of["name"], of["fingerprint"], ()) for of in teachers["models"].values()]
    if teachers.get("route") is None:
        return found[0]
    rows = [
        f"rows whose {teachers['route']} is {key}: {x}"
        for key, x in zip(teachers["models"], found, strict=True)
    ]
    return "; ".join(rows)


def _of_model(prior: Mapping[str, Any]) -> list[str]:
    parameters = prior.get("model", {}).get("parameters")
    return [f"{parameters:,} parameters"] if parameters else []


def _of_dataset(prior: Mapping[str, Any]) -> list[str]:
    info = prior.get("dataset", {})
    rows = [f"{info['rows']:,} rows"] if "rows" in info else []
    wanted = {"format": "format", "template": "template", "max_length": "at most {} tokens"}
    words = {name: text for name, text in wanted.items() if info.get(name) is not None}
    return rows + [
        text.format(info[name]) if "{" in text else f"{text} {info[name]}"
        for name, text in words.items()
    ]


def _of_prior(prior: Mapping[str, Any]) -> str:
    if "mean_p" not in prior:
        return ""
    mean = prior["mean_p"]
    regime = STRONG_REGIME if mean >= STRONG else WEAK_REGIME if mean < WEAK else MIDDLE_REGIME
    parts = [f"mean p {mean:.3f} ({regime})"]
    if "mean_p_interval" in prior:
        low, high = prior["mean_p_interval"]
        parts.append(f"95 % interval {low:.3f} to {high:.3f}")
    if "median_p" in prior:
        parts.append(f"median p {prior['median_p']:.3f}")
    if "conflict_share" in prior:
        parts.append(f"{prior['conflict_share']:.1%} of the target tokens contradict the model")
    if "target_tokens" in prior:
        parts.append(
            f"measured on {prior['target_tokens']:,} target tokens of {prior['examples']:,} examples"
        )
    return ", ".join(parts)


def _of_tasks(runs: Sequence[Run]) -> list[str]:
    """Metric and sizes of each task, of the first run."""
    found: dict[str, dict[str, int]] = {}
    metrics: dict[str, str] = {}
    for score in runs[0].scores if runs else ():
        found.setdefault(score.task, {})[score.part] = len(score.documents)
        metrics[score.task] = score.name
    return [
        f"{task} ({metrics[task]}): "
        + ", ".join(f"{n} {part} documents" for part, n in parts.items())
        for task, parts in found.items()
    ]


def _of_decoding(evidence: Evidence) -> str:
    settings = evidence.study.evaluation
    if "temperature" not in settings:
        return ""
    text = f"{decoding(evidence.study.temperature)}, which decides"
    for part, name in (("test", "repeats"), ("development", "development_repeats")):
        if settings.get(name, 1) > 1:
            text += f", {settings[name]} answers to each {part} document"
    others = [t for t in settings.get("temperatures", ()) if t != evidence.study.temperature]
    if others:
        text += f"; also scored at {', '.join(f'{t:g}' for t in others)}, with one answer"
    return text


def _of_runs(evidence: Evidence) -> str:
    text = f"{len(evidence.runs)} finished"
    if evidence.obstacle() is not None:
        return text
    full = len(evidence.study.seeds)
    arms = [arm for arm in evidence.arms() if arm.learning_rate is not None]
    fewer = [
        f"{arm.label} {len(evidence.seeds(arm))}" for arm in arms if len(evidence.seeds(arm)) < full
    ]
    if fewer:
        return f"{text}; fewer than {full} seeds: {', '.join(fewer)}"
    return f"{text}; every arm on every seed"


def _cost(runs: Sequence[Run]) -> str:
    if not runs:
        return ""
    return (
        f"{duration(sum(run.seconds for run in runs))} in all, {sum(map(_own_tokens, runs)):,} tokens "
        f"trained on, peak memory {size(max(run.peak_memory_bytes for run in runs))}"
    )


def _own_tokens(run: Run) -> int:
    """Less those that another run of the study trained on for it."""
    return run.tokens - (int(run.began["tokens"]) if run.began else 0)


def _device(run: Run) -> str:
    here = run.environment
    threads = f"{here.threads} threads" if here.threads and here.device == "cpu" else ""
    parts = (here.device, here.dtype, threads.replace("1 threads", "1 thread"), here.platform)
    return ", ".join(str(part) for part in parts if part)


def _versions(runs: Sequence[Run]) -> list[str]:
    """`torch 2.13.0`, each version where runs differ."""
    names = dict.fromkeys(name for run in runs for name in run.environment.versions)
    found = [f"python {_distinct(run.environment.python for run in runs)}"] if runs else []
    return found + [
        f"{name} {_distinct(run.environment.versions.get(name, 'none') for run in runs)}"
        for name in names
    ]


def _distinct(texts: Iterable[str]) -> str:
    """The one text, or all of them said to differ."""
    found = sorted(set(texts))
    return found[0] if len(found) == 1 else " / ".join(found) + (" (runs differ)" if found else "")
