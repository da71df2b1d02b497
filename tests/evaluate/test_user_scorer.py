"""A user's own scorer: found, tried and refused in one line; every answer gets the number that it gives."""

import importlib
import linecache
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from advisor.errors import InputError
from harness.cli.main import main
from harness.evaluate.held_out import scored_task
from harness.evaluate.lm_eval import evaluate
from harness.evaluate.scoring_options import ScoringOptions
from harness.evaluate.user_scorer import Scorer, ScorerFailed, read_scorer, scorer_of
from harness.records.runs import Results
from harness.study.from_records import evidence_of
from tests.helpers.lm_eval_tasks import prompts_given
from tests.helpers.paths import ROOT
from tests.helpers.tiny import tiny_model, tiny_tokenizer

ROWS = [("a", "ab"), ("b", "abcd"), ("c", "cc"), ("d", "e")]
SHARED_LETTERS = """
import sys

def score(answers, references, prompts):
    print("a scorer may print what it likes")
    pairs = zip(answers, references)
    return [len(set(a) & set(r)) / max(1, len(set(a) | set(r))) for a, r in pairs]
"""
AS_COMMAND = """
import json, sys
from NAME import score
rows = [json.loads(line) for line in sys.stdin]
sys.stdout, out = sys.stderr, sys.stdout
columns = ([row[key] for row in rows] for key in ("answer", "reference", "prompt"))
out.writelines(f"{value!r}\\n" for value in score(*columns))
"""


def shared(answer: str, reference: str) -> float:
    """What the scorers above give, worked out apart from them."""
    return len({*answer} & {*reference}) / max(1, len({*answer} | {*reference}))


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Writes a module into the current folder, which is the test's own."""
    monkeypatch.chdir(tmp_path)

    def write_module(name: str, source: str) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(source)
        return path

    return write_module


def of(scorer: Scorer, answers: list[str]) -> list[float]:
    return scorer.score(answers, [r for _, r in ROWS], [p for p, _ in ROWS])


def test_a_function_and_a_command_get_every_answer_and_give_its_number(
    own: Any, capsys: Any
) -> None:
    """Breaks where answers are paired with another row's reference, or a print ends in the numbers."""
    own("by_letters", SHARED_LETTERS)
    own("command_of_letters", AS_COMMAND.replace("NAME", "by_letters"))
    answers = ["ab", "dcba xyz", "", "\u2028\n\"quote'"]
    wanted = [shared(a, r) for a, (_, r) in zip(answers, ROWS, strict=True)]
    function = read_scorer("by_letters:score")
    command = read_scorer(f"{sys.executable} command_of_letters.py")
    assert of(function, answers) == of(command, answers) == wanted
    assert (function.name, command.name) == ("by_letters:score", "command_of_letters.py")
    assert not capsys.readouterr().out
    assert str(Path.cwd()) not in sys.path


def test_a_function_takes_what_it_names(own: Any) -> None:
    """Breaks where arguments go by their place instead of their name."""
    own("takes_some", "def two(prompts, answers, weight=0.5):\n    return [weight] * len(prompts)\n"
        "def all(**columns):\n    return [float(len(columns) == 3 and a == p) for a, p in\n"
        "            zip(columns['answers'], columns['prompts'])]\n")  # fmt: skip
    answers = ["a", "x", "c", "x"]
    assert of(read_scorer("takes_some:two"), answers) == [0.5] * 4
    assert of(read_scorer("takes_some:all"), answers) == [1.0, 0.0, 1.0, 0.0]


def test_a_scorer_is_told_by_its_source_and_imported_anew_where_that_changed(own: Any) -> None:
    """Breaks where scores of an edited scorer would stand beside those of the one before."""
    first = read_scorer(f"{own('edited', SHARED_LETTERS).stem}:score")
    again = read_scorer("edited:score")
    own("edited", "def score(answers):\n    return [0.25 for _ in answers]\n")
    changed = read_scorer("edited:score")
    assert first == again and first.code and changed.code != first.code
    assert of(changed, ["x"] * 4) == [0.25] * 4
    command = read_scorer(f"{sys.executable} edited.py")
    own("edited", SHARED_LETTERS)
    assert read_scorer(f"{sys.executable} edited.py").code != command.code
    assert (
        read_scorer(f"{sys.executable} -m edited").code
        == read_scorer(f"{sys.executable} edited.py").code
    )


def half(answers: list[str]) -> list[float]:
    return [0.5 for _ in answers]


def test_python_gives_the_function_itself() -> None:
    scorer = read_scorer(half)
    assert scorer.text == f"{__name__}:half" and of(scorer, ["x"] * 4) == [0.5] * 4
    with pytest.raises(InputError, match="give a function"):
        read_scorer(dict.fromkeys)
    made: dict[str, Any] = {}
    exec("def score(answers):\n    return []\n", made)
    with pytest.raises(InputError, match="its source is not known"):
        read_scorer(made["score"])


def test_a_function_from_python_is_told_by_its_own_lines(
    own: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks where another setting in the script that calls makes all runs another study's."""
    path = own("script_that_calls", f"{SHARED_LETTERS}\nBUDGET = '1h'\n")
    monkeypatch.syspath_prepend(path.parent)
    before = read_scorer(importlib.import_module("script_that_calls").score)
    path.write_text(f"{SHARED_LETTERS}\nBUDGET = '30m'\n")
    linecache.checkcache()
    assert read_scorer(sys.modules["script_that_calls"].score) == before


BAD = """
import os

def missing(answers, references):
    return [0.5]

def infinite(answers):
    return [0.5] * (len(answers) - 1) + [float("nan")]

def large(answers):
    return [0.5, 7.0] * (len(answers) // 2)

def text(answers):
    return ["good"] * len(answers)

def nothing(answers):
    pass

def raises(answers):
    return [1 / len(answer) for answer in answers]

def leaves(answers):
    raise SystemExit(3)

def other(replies, answers):
    return []

def none(references):
    return []
"""
FAILS = {
    "bad:missing": "gives 1 scores for 8 answers",
    "bad:infinite": "score 8 is nan: a score is a number from 0 to 1",
    "bad:large": "score 2 is 7: a score is a number from 0 to 1, larger is better",
    "bad:text": "score 1 is 'good', not a number",
    "bad:nothing": "gives None, not a list of numbers",
    "bad:raises": r"ZeroDivisionError: division by zero \(.*bad.py, line 20\)",
    "bad:leaves": r"SystemExit: 3 \(.*bad.py, line 23\)",
    f"{sys.executable} -c 'raise KeyError(5)'": "fails with exit code 1: KeyError: 5",
    f"{sys.executable} -c 'print(0.5)'": "gives 1 scores for 8 answers",
    f"{sys.executable} -c 'print(chr(10).join(8 * [chr(97)]))'": "score 1 is 'a', not a number",
    "./no_head.sh": r"cannot be run \(.*Exec format error",
}


@pytest.mark.parametrize("text", FAILS)
def test_what_fails_on_a_few_rows_is_refused_before_any_run(own: Any, text: str) -> None:
    """Breaks where such a scorer is found out after the training that it was to score."""
    own("bad", BAD)
    Path("no_head.sh").write_text("echo 0.5\n")
    Path("no_head.sh").chmod(0o755)
    with pytest.raises(ScorerFailed, match=FAILS[text]) as caught:
        scored_task(ROWS, scorer=read_scorer(text))
    said = str(caught.value)
    assert said.startswith(f"--scorer {text}: ") and "\n" not in said
    assert said.endswith("tried on references of held-out rows and on empty answers")


REFUSED = {
    "nowhere:score": "no module nowhere in .*, nor installed: start where it lies",
    "bad:absent": r"bad.py has no function absent",
    "bad:os": "bad.py has no function os",
    "bad.inner:score": "no module bad.inner|'bad' is not a package",
    "broken:score": r"cannot be imported: SyntaxError: .*broken.py, line 1\)",
    "imports:score": "cannot be imported: ModuleNotFoundError: No module named 'nosuch'.*, line 2",
    "bad:other": "takes replies; its arguments have to be called answers, references and prompts",
    "bad:none": "takes no answers; its arguments",
    "no_such_command --flag": "no_such_command is no command that can be run",
    "./bad.py": "./bad.py is no command that can be run",
    "'open": "not a command line",
    " ": "is empty",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_there_is_refused_in_one_line(own: Any, text: str) -> None:
    own("bad", BAD)
    own("broken", "def score(:\n")
    own("imports", "import os\nimport nosuch\n")
    with pytest.raises(InputError, match=REFUSED[text]) as caught:
        read_scorer(text)
    assert str(caught.value).startswith("--scorer") and "\n" not in str(caught.value)


def test_a_scorer_excludes_tasks_and_metrics(capsys: Any) -> None:
    words = ["confirm", "m", "d", "--scorer", "a:b", "--tasks", "gsm8k"]
    assert main(words) == 2 and "--tasks" in capsys.readouterr().err
    with pytest.raises(InputError, match="--metric: a scorer gives one score"):
        scorer_of(ScoringOptions(scorer="a:b", metric="f1"))
    assert scorer_of(ScoringOptions()) is None


def test_every_document_and_repeat_has_the_number_of_its_answer(
    own: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks where numbers go to other documents, or a repeat is scored with another's answers."""
    own("of_evaluation", SHARED_LETTERS)
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return "abcdefg"[: 1 + (3 * len(asked)) % 7]

    prompts_given(monkeypatch, answer)
    task = scored_task(ROWS, scorer=read_scorer("of_evaluation:score"))
    [score] = evaluate(
        tiny_model(), tiny_tokenizer(), [task], temperature=1.0, repeats=3, part="all"
    )
    given = [(prompt, "abcdefg"[: 1 + (3 * i) % 7]) for i, prompt in enumerate(asked, 1)]
    wanted = {p: [shared(a, r) for q, a in given if q == p] for p, r in ROWS}
    assert sorted(map(len, wanted.values())) == [3] * 4
    assert sorted(score.values) == sorted(map(tuple, wanted.values()))
    assert (score.metric, score.unit, score.higher_is_better) == (
        "of_evaluation:score",
        "share",
        True,
    )


@pytest.mark.parametrize(("temperature", "calls"), [(0.0, 1), (1.0, 3)])
def test_a_function_is_called_once_for_each_repeat(
    temperature: float, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What docs/scores.md says."""
    seen: list[int] = []

    def score(answers: list[str]) -> list[float]:
        seen.append(len(answers))
        return [0.5] * len(answers)

    prompts_given(monkeypatch, lambda prompt: "abc")
    task = scored_task(ROWS, scorer=read_scorer(score))
    seen.clear()  # of the trial before any run
    evaluate(tiny_model(), tiny_tokenizer(), [task], temperature=temperature, repeats=3, part="all")
    assert seen == [len(ROWS)] * calls
    page = (ROOT / "docs" / "scores.md").read_text(encoding="utf-8")
    assert "once for each repeat" in " ".join(page.split())


WORDS = ["--objectives", "nll", "--seeds", "1", "--learning_rates", "1e-3", "--max_steps", "1",
         "--temperature", "0", "--json"]  # fmt: skip


def test_confirm_scores_by_it_and_mixes_no_other_scorers_records_in(
    own: Any, capsys: Any, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks where a second scorer takes over the runs of the first, or neither stands in the record."""
    own("judged", "def score(answers):\n    return [len(a) / 10 for a in answers]\n")
    pairs = [(x, y) for x in "cdefghij" for y in "cdefghij"]
    Path("d.jsonl").write_text(
        "".join(f'{{"prompt": "{x} {y} ", "completion": "{x}"}}\n' for x, y in pairs)
    )
    prompts_given(monkeypatch, lambda prompt: "abc")
    words = ["confirm", str(model_folder), "d.jsonl", *WORDS, "--results", "r"]
    assert main([*words, "--scorer", "judged:score"]) == 0
    first = Results("r").runs()
    assert {run.spec.evaluation["scorer"] for run in first} == {"judged:score"}
    assert {run.spec.tasks for run in first} == {("held_out_scored",)}
    assert {value for run in first for s in run.scores for value in s.per_document} == {0.3}
    own("judged", "def score(answers):\n    return [len(a) / 5 for a in answers]\n")
    assert main([*words, "--scorer", "judged:score"]) == 0
    runs = Results("r").runs()
    assert len(runs) == 2 * len(first)
    assert sorted(len(one.runs) for one in evidence_of(runs)) == [len(first)] * 2
    capsys.readouterr()
    own("judged", "def score(answers):\n    return [1 / (a != 'abc') for a in answers]\n")
    assert main([*words, "--scorer", "judged:score"]) == 2
    [line] = capsys.readouterr().err.strip().splitlines()[-1:]
    assert "base failed (ScorerFailed: --scorer judged:score: ZeroDivisionError" in line
    assert "judged.py, line 2" in line and "its record is " in line


ON_A_WORKER = """
import os, ray
from harness.evaluate.held_out import scored_task
from harness.evaluate.user_scorer import read_scorer
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=40)
tasks = [scored_task([("a", "ab")], scorer=read_scorer(text)) for text in TEXTS]

@ray.remote
def worker(tasks):
    os.chdir("/")
    record = {"doc": {"prompt": "a", "reference": "ab"}, "filtered_resps": ["a"]}
    return [list(task["process_results"].scored([record])[0].values())[-1] for task in tasks]

print(ray.get(worker.remote(ray.put(tasks))))
ray.shutdown()
"""


@pytest.mark.slow
def test_a_worker_of_ray_finds_the_scorer(own: Any, tmp_path: Path) -> None:
    """Protects studies on a cluster: a worker that starts elsewhere imports and runs the user's scorer."""
    pytest.importorskip("ray", reason="the extra ray is not installed")
    own("on_ray", SHARED_LETTERS)
    own("command_on_ray", AS_COMMAND.replace("NAME", "on_ray"))
    texts = ["on_ray:score", f"{sys.executable} command_on_ray.py"]
    done = subprocess.run(
        [sys.executable, "-c", ON_A_WORKER.replace("TEXTS", repr(texts))], capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("[0.5, 0.5]")
