"""The page of a results folder: what it says, what it must not do, and the studies rebuilt for it."""

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from advisor.errors import InputError
from harness import plots
from harness.cli.main import main
from harness.cli.parser import parse
from harness.compare.compare import compare
from harness.records.runs import Results, Run
from harness.report import facts, write_report
from harness.report.figures import gains
from harness.report.section import study_section, titles_of
from harness.statistics.paired import Verdict as Words
from harness.study.from_records import Evidence, evidence_of, studies_of
from harness.study.study import Study, next_runs
from harness.study.verdict import Verdict, settle
from tests.helpers.lm_eval_logs import bits, log
from tests.helpers.pages import HOSTILE, INERT, SHOWN, Page
from tests.helpers.studies import (
    flat,
    in_bits,
    play,
    prior_leaning_wins,
    row_of,
    run_of,
    study_of,
)

PRIOR = {
    "histogram": [0] * 19 + [40], "target_tokens": 40, "examples": 4, "mean_p": 0.8,
    "mean_p_interval": [0.75, 0.85], "model": {"parameters": 12345}, "dataset": {"rows": 77},
}  # fmt: skip
STEPS = ({"step": 1, "nll": 2.0, "mean_p": 0.5}, {"step": 2, "nll": 1.0, "mean_p": 0.75})
NO_SCORES = ("p (Holm)", "mean rank", "P(better than nll)", "time", "memory", "learning rate")
"""Columns of tables that hold other numbers."""
ADDRESSES = ("src", "srcset", "href", "xlink:href", "action", "formaction", "data", "poster")


def page_of(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def fill(folder: Path, runs: list[Run], **changes: Any) -> Path:
    for run in runs:
        steps = STEPS if run.spec.arm.method != "base" else ()
        Results(folder).write(replace(run, prior=PRIOR, steps=steps, **changes))
    return folder


def renamed(runs: list[Run], **names: Any) -> list[Run]:
    """The same runs under other names; a task's name takes its scores along."""
    [task] = names.get("tasks", ("t",))
    return [
        replace(
            run,
            spec=replace(run.spec, **names),
            scores=tuple(replace(score, task=task) for score in run.scores),
        )
        for run in runs
    ]


def twice(study: Study, truth: Any) -> list[Run]:
    """A study of two tasks that are scored alike."""
    runs: list[Run] = []
    while specs := next_runs(study, runs):
        for spec in specs:
            run = run_of(spec, truth(spec.arm.method, spec.arm.learning_rate))
            more = tuple(replace(score, task="u") for score in run.scores)
            runs.append(replace(run, scores=(*run.scores, *more)))
    return runs


def signed(number: float) -> str:
    return f"{number:+.1f}".replace("-", "\N{MINUS SIGN}")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn, but not turned into SVG, which takes most of the time."""
    monkeypatch.setattr(plots, "svg", lambda figure: "<svg></svg>")


@pytest.fixture(scope="module")
def study() -> Study:
    return study_of()


@pytest.fixture(scope="module")
def runs(study: Study) -> list[Run]:
    return play(study, prior_leaning_wins)


@pytest.fixture(scope="module")
def verdict(study: Study, runs: list[Run]) -> Verdict:
    return settle(study, runs)


@pytest.fixture(scope="module")
def page(runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of one whole study."""
    return page_of(write_report(fill(tmp_path_factory.mktemp("whole"), runs)).path)


def test_scores_that_are_no_shares_keep_the_digits_that_tell_them_apart(quick: None) -> None:
    """Breaks where 1.053 and 1.021 bits per byte are both 1.0, and a resolved difference is -0.0."""
    study = study_of(tasks=("t", "u"), objectives=("nll", "neg_p"))
    runs = [in_bits(run) for run in twice(study, prior_leaning_wins)]
    evidence, verdict = Evidence(study=study, runs=tuple(runs)), settle(study, runs)
    section = study_section(evidence, verdict, None, [], None, title="", margin=None)
    assert section.overview is not None
    tables = {
        table.caption: table for table in (*section.numbers, *section.tables, section.overview)
    }
    shown = [score for _, score, _ in section.scores] + [section.headline, str(verdict)]
    for table in tables.values():
        of_scores = [i for i, name in enumerate(table.columns) if name not in NO_SCORES]
        shown += [row[i] for _, rows in table.groups for row in rows for i in of_scores]
    text = " ".join(shown)
    assert len(tables) == 6 and not re.search(r"(?<![\d.])\d+\.\d(?!\d)", text)
    ranked = tables["All tasks together."].groups[0][1]
    assert all(0.953 <= float(row[2]) <= 1.053 for row in ranked)


def test_every_word_of_a_verdict_has_a_mark_of_its_own(page: Page) -> None:
    """Breaks where ahead, p < 0.001, bears the question mark of what is not resolved."""
    marks = {
        word: re.findall(rf"\.{word.replace(' ', '-')}::before \{{ content: \"(.)\"", page.source)
        for word in get_args(Words)
    }
    assert marks.pop("not resolved") == [] and all(len(found) == 1 for found in marks.values())
    assert len({*map(tuple, marks.values()), ("?",)}) == len(marks) + 1


def test_what_is_called_equivalent_is_said_as_it_is_tested(page: Page) -> None:
    assert "of one arm the 90 % interval lies there, of five the 98 % interval" in page.text


def test_a_study_comes_back_from_its_records(study: Study, runs: list[Run]) -> None:
    [found] = evidence_of(runs[::-1])
    assert found.study == study and len(found.runs) == len(runs)
    assert found.left() == [] and found.obstacle() is None
    assert settle(found.study, found.runs) == settle(study, runs)


@pytest.mark.parametrize(
    "rates", [(1e-4, 1e-3), (1e-4, 1e-3, 1e-2), (3e-4, 1e-3), (1e-3,)], ids=str
)
@pytest.mark.parametrize("objectives", [("nll",), ("nll", "neg_p")], ids=len)
@pytest.mark.parametrize("best", [0, -1])
def test_the_control_of_nll_is_not_taken_for_a_rate_of_the_grid(
    rates: tuple[float, ...], objectives: tuple[str, ...], best: int
) -> None:
    study = study_of(learning_rates=rates, objectives=objectives, seeds=(0, 1))
    runs = play(study, lambda name, rate: flat(0.8 if rate == rates[best] else 0.4))
    [found] = evidence_of(runs)
    assert found.obstacle() is None and found.left() == []
    assert settle(found.study, found.runs).rows == settle(study, runs).rows


def test_other_tasks_settings_or_models_are_other_studies() -> None:
    plain = study_of(seeds=(0,))
    several = [
        plain,
        replace(plain, tasks=("u",)),
        replace(plain, training={"max_steps": "3"}),
        replace(plain, model_fingerprint="other"),
        replace(plain, split="train"),
        replace(plain, evaluation={**plain.evaluation, "repeats": 2}),
    ]
    specs = [spec for study in several for spec in next_runs(study, [])]
    assert sorted(map(repr, studies_of(specs))) == sorted(map(repr, several))


def taught_by(name: str) -> dict[str, Any]:
    return {"route": None, "models": {name: {"name": name, "fingerprint": name.upper()}}}


def test_each_set_of_teachers_is_a_study_that_shares_what_has_none() -> None:
    several = [
        study_of(objectives=("nll", "opd"), seeds=(0,), teachers=taught_by(name)) for name in "ab"
    ]
    specs = {run.spec.id: run.spec for one in several for run in play(one, prior_leaning_wins)}
    assert len(specs) == 1 + 2 + 1 + 2 * 2  # base, nll, its control, opd of both
    assert studies_of(list(specs.values())) == several


def test_the_command_and_the_facts_name_the_teachers() -> None:
    one = study_of(objectives=("nll", "opd"), teachers=taught_by("big"))
    models = {key: {"name": f"{key}-model", "fingerprint": key} for key in ("x", "y z")}
    two = replace(one, teachers={"route": "skill", "models": models})
    words = words_of(one)
    assert words[words.index("--teacher") + 1] == "big" and "--route" not in words
    words = words_of(two)
    at = words.index("--teacher")
    assert words[at + 1 : at + 3] == ["x=x-model", "y z=y z-model"]
    assert words[words.index("--route") + 1] == "skill"
    said = dict(facts.measured(Evidence(study=two, runs=())))
    assert "skill is y z: y z-model, fingerprint y z" in said["Teachers"]
    assert "Teachers" not in dict(facts.measured(Evidence(study=study_of(), runs=())))


def test_the_facts_say_that_the_data_had_weights() -> None:
    study, weights = study_of(), "0.5 to 2 in 3 of 4 rows"
    runs = play(study, lambda *_: flat(0.5))
    for prior, says in ((PRIOR, None), ({**PRIOR, "weights": weights}, weights)):
        evidence = Evidence(study=study, runs=tuple(replace(run, prior=prior) for run in runs))
        assert dict(facts.measured(evidence)).get("Weights of the data") == says


def test_studies_alike_but_for_their_training_are_told_apart() -> None:
    settings: tuple[dict[str, str], ...] = ({"max_steps": "75"}, {"optim": "sgd"}, {})
    alike = [study_of(training={"logging_steps": "5", **more}) for more in settings]
    others = replace(alike[2], seeds=(0, 1)), study_of(model="other")
    titles = titles_of([Evidence(study=one, runs=()) for one in (*alike, *others)])
    assert len(set(titles)) == 5 and titles[3].endswith("seeds=2")
    assert "max_steps=75" in titles[0] and "optim=sgd" in titles[1]
    assert not any("logging_steps" in title for title in titles)


def test_only_arms_on_the_demonstrations_stand_over_their_mean_p() -> None:
    arms = ("nll", "neg_p", "neg_p@own", "opd", "cadft(1)@resampled")
    study = study_of(objectives=arms, teachers=taught_by("big"), full=True)
    runs = [replace(run, prior=PRIOR) for run in play(study, lambda *_: flat(0.5))]
    evidence = Evidence(study=study, runs=tuple(runs))
    assert [gain.arm for gain in gains(evidence, settle(study, runs))] == ["neg_p"]


def test_the_page_says_what_was_settled(page: Page, verdict: Verdict) -> None:
    answer, _, rest = verdict.headline.partition(": ")
    assert answer == "Use neg_p" and f"Use neg_p {rest}" in page.text
    names = [tag for tag, _ in page.tags]
    places = [names.index(tag) for tag in ("h1", "table", "svg", "dl", "pre")]
    assert places == sorted(places), "verdict, comparisons, figures, method, command"
    row = row_of(verdict, "neg_p", "nll")
    low, high = map(signed, row.difference.interval)
    assert [
        *("neg_p", "better", signed(row.difference.estimate), f"{low} to {high}"),
        *("< 0.001" if row.adjusted_p < 0.001 else f"{row.adjusted_p:.3f}", f"{row.score:.1f}"),
    ] in page.rows
    curve = verdict.curve[row.arm]
    assert ["neg_p", *(f"{curve[t]:.1f}" for t in (0.0, 0.5, 1.0))] in page.rows
    assert "Stopped early by racing, being clearly behind: threshold(0.2)" in page.text


def test_figures_and_facts_are_there(page: Page, runs: list[Run]) -> None:
    # differences, tasks, temperatures, learning rates, two of the training, prior, continuum
    assert page.count("svg") == 8
    for word in ("12,345 parameters", "77 rows", "mean p 0.800 (model-strong)", "300 test documents",
                 "cannot be compared", "Schuirmann", f"{len(runs)} finished", "advisor confirm m d",
                 "--learning_rates 0.0001 0.001", "threshold(0.2) 1"):  # fmt: skip
        assert word in page.text, word
    assert page.count("details") >= len(runs)
    listed = [cells for cells in page.rows if len(cells) == 9][1:]
    assert [cells[0] for cells in listed[:3]] == ["base", "nll", "nll"]
    assert sorted(cells[-1] for cells in listed) == sorted(run.spec.id for run in runs)


def words_of(study: Study) -> list[str]:
    return shlex.split(facts.command(Evidence(study=study, runs=())).replace("\\\n", " "))


@pytest.mark.parametrize("tasks", [("held_out",), ("held_out_choice",), ("held_out", "u"), ("t",)])
def test_the_command_names_only_tasks_that_there_are(tasks: tuple[str, ...]) -> None:
    words = words_of(study_of(tasks=tasks))
    if tasks[0] == "t" or len(tasks) > 1:
        start = words.index("--tasks") + 1
        assert tuple(words[start : start + len(tasks)]) == tasks
    else:
        assert "--tasks" not in words


def test_the_command_reads_and_scores_as_the_study_did() -> None:
    plain = study_of(tasks=("held_out",))
    given = {"answer_regex": r"-?(\d+) 'x'", "include_path": "my tasks", "dtype": "float32",
             "scorer": "python judge.py --strict"}  # fmt: skip
    study = replace(
        plain,
        split="train",
        reading={"prompt_field": "a question", "max_length": 64, "eos_token": None},
        evaluation={
            **plain.evaluation,
            **given,
            "task_files": {"a.yaml": "0"},
            "scorer_code": "0",
        },
    )
    words = words_of(study)
    args = parse(words[1:])
    assert {name: getattr(args, name) for name in given} == given
    assert (args.split, args.prompt_field, args.max_length) == ("train", "a question", 64)
    assert args.eos_token is None
    flags = {word.split("=")[0] for word in words if word.startswith("--")}
    absent = {word.split("=")[0] for word in words_of(plain) if word.startswith("--")}
    assert flags - absent == {
        f"--{name}" for name in (*given, "split", "prompt_field", "max_length")
    }


def test_the_command_gives_numbers_that_read_back_the_same() -> None:
    rates = (0.00012345678, 1e-5, 0.001, 1 / 3)
    words = words_of(study_of(learning_rates=rates, temperature=0.123456789))
    args = parse(words[1:])
    assert tuple(args.learning_rates) == rates and args.temperature == 0.123456789
    assert {"0.00012345678", "1e-05", "0.001"} <= set(words)
    words = words_of(study_of(temperature=1.0))
    assert words[words.index("--temperature") + 1] == "1"


def test_it_fetches_and_runs_nothing(page: Page) -> None:
    assert {tag for tag, _ in page.tags} <= INERT
    policy = [
        a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        targets = [attributes[name] for name in ADDRESSES if name in attributes]
        assert tag == "a" or all((target or "").startswith("#") for target in targets)
    assert "prefers-color-scheme: dark" in page.source and "@import" not in page.source
    assert set(re.findall(r"url\((.)", page.source)) <= {"#"}


def test_hostile_text_is_shown_and_does_nothing(tmp_path: Path) -> None:
    bland = play(study_of(seeds=(0,), objectives=("nll", "neg_p")), prior_leaning_wins)
    named = renamed(bland, model=HOSTILE, dataset=f"{HOSTILE}2", split=HOSTILE, tasks=(HOSTILE,))
    runs = [
        replace(run, spec=replace(run.spec, arm=replace(run.spec.arm, objective=HOSTILE)))
        if run.spec.arm.method == "neg_p"
        else run
        for run in named
    ]
    fill(tmp_path, runs)
    Results(tmp_path).write(replace(runs[-1], scores=(), error=f"{HOSTILE} failed"))
    page = page_of(write_report(tmp_path).path)
    assert {tag for tag, _ in page.tags} <= INERT
    assert not any(name.startswith("on") for _, found in page.tags for name in found)
    assert f"Keep the checkpoint of {SHOWN}" in page.text and f"{SHOWN} failed" in page.text
    assert page.text.count(SHOWN) > 20
    assert not (set(HOSTILE) - set(SHOWN)) & set(page.source)


def test_an_objective_that_changes_is_an_arm_like_others(tmp_path: Path) -> None:
    """Its > is escaped in tables, figures and texts, and the command that is shown reads it back."""
    staged, annealed = "nll>neg_p(at=0.5)", "p_anneal(0, 1, 0, 1)"
    study = study_of(seeds=(0,), objectives=("nll", staged, annealed))
    runs = play(study, lambda name, rate: prior_leaning_wins(name.replace(staged, "neg_p"), rate))
    page = page_of(write_report(fill(tmp_path, runs)).path)
    assert {tag for tag, _ in page.tags} <= INERT
    assert "nll>" not in page.source and page.source.count("nll&gt;neg_p(at=0.5)") > 10
    assert f"Keep the checkpoint of {staged}" in page.text
    assert (
        any(row[0] == staged for row in page.rows) and f"--objectives nll '{staged}'" in page.text
    )
    assert parse(words_of(study)[1:]).objectives == ["nll", staged, annealed]


@pytest.mark.usefixtures("quick")
def test_before_the_grid_is_whole_nothing_is_settled(runs: list[Run], tmp_path: Path) -> None:
    report = write_report(fill(tmp_path, runs[:5]))  # the base, nll twice, neg_p twice
    assert report.headlines[0].startswith(
        "Not complete (1 run is due): Keep the checkpoint of neg_p"
    )
    part = write_report(fill(tmp_path / "part", [*runs[:4], runs[5]]))
    waits = (
        "Not complete (at least 2 runs are due, neg_p and threshold(0.2) not judged yet): Keep the"
    )
    assert part.headlines[0].startswith(f"{waits} checkpoint of nll: +")
    assert not any(cells[0] == "neg_p" and "ahead" in cells for cells in page_of(part.path).rows)
    report = write_report(fill(tmp_path / "cut", [*runs[:2], runs[4]]))
    assert report.headlines[0] == (
        "Not settled: 2 of 4 runs of the learning-rate grid are missing (nll at 0.001, neg_p at 0.0001)."
    )
    page = page_of(report.path)
    assert "goes on where it stopped" in page.text and page.count("svg") == 3
    assert any(cells[:1] == ["nll"] and "base" not in cells for cells in page.rows)


@pytest.mark.usefixtures("quick")
def test_a_study_that_was_killed_says_so(study: Study, runs: list[Run], tmp_path: Path) -> None:
    assert len(runs) > 9
    """First in the title of the page, in the verdict and in what the command prints."""
    report = write_report(fill(tmp_path, runs[:9]))
    page, left = page_of(report.path), next_runs(study_of(seeds=(0, 1)), runs[:9])
    says = f"Not complete (at least {len(left)} runs are due)"
    assert len(left) > 1 and report.headlines[0].startswith(f"{says}: ")
    assert page.text.startswith(says) and f"{says}: the verdict may still change" in page.text


def test_the_base_alone_and_failures_alone_give_a_page(runs: list[Run], tmp_path: Path) -> None:
    alone = write_report(fill(tmp_path / "base", runs[:1]))
    assert alone.headlines == ("Not settled: there is no run of nll to compare with.",)
    fill(tmp_path / "failed", runs[1:3], error="RuntimeError: out of memory")
    failed = write_report(tmp_path / "failed")
    assert failed.headlines == ("Not settled: the untouched model has not been scored.",)
    assert [
        "nll, learning rate 0.0001, seed 0",
        "RuntimeError: out of memory",
        "not run again",
    ] in page_of(failed.path).rows


@pytest.mark.usefixtures("quick")
def test_a_failure_that_was_mended_is_said_to_be(runs: list[Run], tmp_path: Path) -> None:
    fill(tmp_path, runs[:5])
    fill(tmp_path, runs[1:2], error="OSError: disk full")
    page = page_of(write_report(tmp_path).path)
    assert ["nll, learning rate 0.0001, seed 0", "OSError: disk full", "went well"] in page.rows
    assert "failed: see the end" not in page.text


@pytest.mark.usefixtures("quick")
def test_several_studies_have_a_section_each(
    runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    domains: list[set[str]] = []
    monkeypatch.setattr(
        plots, "continuum", lambda axes, points: domains.append({p.domain for p in points})
    )
    fill(tmp_path / "a", runs[:5])
    fill(tmp_path / "b", renamed(runs[:5], model="other", tasks=("u",)))
    (tmp_path / "published.csv").write_text("mean_p,nll,neg_p,threshold\n0.5,10.0,12.0,\n")
    report = write_report(tmp_path)
    page = page_of(report.path)
    assert [line.split(" · ")[0] for line in report.headlines] == ["m on d", "other on d"]
    anchors = {found["id"] for tag, found in page.tags if tag == "section"}
    links = {found["href"] for tag, found in page.tags if tag == "a" and found["href"][0] == "#"}  # type: ignore[index]
    assert anchors == {"study-1", "study-2"} and links == {"#study-1", "#study-2"}
    assert page.count("svg") == 2 * 7 + 1
    assert domains == [{"published", "user"}]  # drawn once, for both
    (tmp_path / "published.csv").write_text("mean_p,nll\n0.5,ten\n")
    with pytest.raises(InputError, match=r"published.csv: not a table of published results"):
        write_report(tmp_path)


@pytest.mark.usefixtures("quick")
def test_two_tasks_are_ranked(tmp_path: Path) -> None:
    bland = play(study_of(seeds=(0, 1), objectives=("nll", "neg_p")), prior_leaning_wins)
    both = [
        replace(
            run,
            spec=replace(run.spec, tasks=("t", "u")),
            scores=tuple(replace(score, task=task) for score in run.scores for task in ("t", "u")),
        )
        for run in bland
    ]
    page = page_of(write_report(fill(tmp_path, both)).path)
    assert page.count("svg") == 9
    ranked = next(i for i, cells in enumerate(page.rows) if cells[:2] == ["arm", "mean rank"])
    assert page.rows[ranked + 1][:2] == ["neg_p", "1.00"]


@pytest.mark.usefixtures("quick")
def test_logs_of_lm_eval_are_compared(tmp_path: Path) -> None:
    for name, share in (("base", 0.2), ("nll", 0.4), ("neg_p", 0.7)):
        log(tmp_path / name, bits(share, 100), model=f"org/{name}")
    report = write_report(tmp_path)
    page, found = page_of(report.path), compare([tmp_path])
    row = next(r for r in found.rows if (r.arm.label, r.baseline.label) == ("neg_p", "nll"))
    low, high = map(signed, row.difference.interval)
    assert ["neg_p", "ahead", signed(row.difference.estimate), f"{low} to {high}"] in [
        cells[:4] for cells in page.rows
    ]
    assert page.count("svg") == 1


def test_refusals_are_one_line(
    runs: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, broken, empty = (tmp_path / name for name in ("whole", "broken", "empty"))
    fill(whole, runs[:1])
    fill(broken, runs[:2])
    empty.mkdir()
    torn = Results(broken).path(runs[1].spec)
    torn.write_text(torn.read_text()[:200])
    file = tmp_path / "file"
    file.write_text("here")
    foreign = tmp_path / "foreign"
    fill(foreign, [replace(runs[0], spec=replace(runs[0].spec, evaluation={"temperature": "hot"}))])

    def refused(*words: object) -> str:
        assert main(["report", *map(str, words)]) == 2
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.count("\n") == 1
        return printed.err

    assert "not a folder" in refused(tmp_path / "none") and "not a folder" in refused(file)
    assert "holds neither run records" in refused(empty)
    assert str(torn) in refused(broken)
    assert "spec.evaluation.temperature is 'hot', not a number" in refused(foreign)
    assert "a folder" in refused(whole, "--output_path", empty)
    assert "cannot be written" in refused(whole, "--output_path", file / "report.html")
    assert file.read_text() == "here" and not list(empty.iterdir())


def test_the_command_prints_verdict_and_path(
    runs: list[Run],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = tmp_path / "pages" / "one.html"
    target.parent.mkdir()
    target.write_text("old")
    fill(tmp_path / "results", runs[:1])
    words = ["report", str(tmp_path / "results"), "--output-path", str(target), "--margin", "2.5"]
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", _full)
        assert main(words) == 2
        assert "No space left" in capsys.readouterr().err
    assert target.read_text() == "old" and list(target.parent.iterdir()) == [target]
    assert main(words) == 0
    headline, path = capsys.readouterr().out.splitlines()
    assert headline.startswith("Not settled") and path == str(target)
    assert "lies within 2.5 of zero" in page_of(target).text
    assert not list((tmp_path / "results").glob("*.html"))


def _full(self: Path, target: Path) -> None:
    raise OSError(28, "No space left on device")
