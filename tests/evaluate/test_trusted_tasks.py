"""A task file runs no code that the user did not allow, whichever way it names it."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from advisor.errors import InputError
from harness.cli.main import main
from harness.evaluate.lm_eval import task_names
from harness.evaluate.trusted_tasks import confined, refuse_code
from tests.helpers.paths import ROOT

Write = Callable[[str, str | bytes], Path]
ROWS = '{"q": "1", "a": "2"}\n'
PLAIN = """
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{q}}"
doc_to_target: "{{a}}"
generation_kwargs: {until: ["#"]}
"""
MARKS = "from pathlib import Path\nPath('ran').touch()\n"
"""Code that leaves a file where it ran."""


@pytest.fixture
def here(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a user with rows, a module and a metric of the same folder."""
    monkeypatch.chdir(tmp_path)
    write("rows.jsonl", ROWS)
    write("mine.py", MARKS + "def docs(dataset):\n    return dataset\n")
    (tmp_path / "my_metric").mkdir()
    write("my_metric/my_metric.py", MARKS)
    return tmp_path


def refused(spec: Any, *folders: Path) -> str:
    """The refusal of a task, by its path or by its name in folders; nothing ran."""
    from lm_eval.tasks import TaskManager

    with pytest.raises(InputError) as refusal:
        if folders:  # all of lm-eval's own would take seconds to read
            index = TaskManager(include_path=[*folders], include_defaults=False).task_index
            refuse_code(spec, index, trusted=False)
        else:
            task_names(spec)
    assert not Path("ran").exists()
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


FUNCTION = "process_docs: !function mine.docs\n"
NEEDS_CODE = {
    "function": (FUNCTION, "!function mine.docs, line 2"),
    "installed module": ("process_docs: !function os.system\n", "!function os.system"),
    "replaced by a later key": (FUNCTION + "process_docs: null\n", "!function mine.docs"),
    "class": ("class: !function mine.docs\n", "!function mine.docs"),
    "in a list": ("metric_list: [{metric: !function mine.docs}]\n", "!function mine.docs"),
    "metric of a folder": (
        "metric_list: [{metric: my_metric, aggregation: mean, higher_is_better: true}]\n",
        "metric my_metric, loaded by the evaluate library",
    ),
    "metric of the hub": (
        "metric_list: [{metric: acc, hf_evaluate: true}]\n",
        "metric acc, loaded by the evaluate library",
    ),
    "prompt of a library": ("use_prompt: promptsource:x\n", "use_prompt: promptsource:x"),
}


@pytest.mark.parametrize(("lines", "says"), NEEDS_CODE.values(), ids=NEEDS_CODE)
def test_a_task_file_that_needs_code_is_refused(
    here: Path, write: Write, lines: str, says: str
) -> None:
    told = refused(write("t.yaml", f"task: t\n{lines}{PLAIN}"))
    assert says in told and "t.yaml" in told and "--trust_remote_code" in told


def test_code_of_an_included_file_is_found(here: Path, write: Write) -> None:
    write("deep.txt", FUNCTION + PLAIN)
    write("base.txt", "include: deep.txt\n")
    assert "deep.txt" in refused(write("t.yaml", "include: [base.txt]\ntask: t\n"))


def test_code_behind_a_name_of_the_include_path_is_found(here: Path, write: Write) -> None:
    write("t.yaml", f"task: t\ntag: several\n{FUNCTION}{PLAIN}")
    write("g.yaml", "group: all_of_them\ntask: [unknown, {task: t, num_fewshot: 1}]\n")
    write("h.yaml", f"group: inline\ntask: [{{task: u, {FUNCTION.strip()}}}]\n")
    for name, file in [("t", "t"), ("several", "t"), ("all_of_them", "t"), ("inline", "h")]:
        assert f"{file}.yaml" in refused(name, here)


def test_another_tag_is_not_read(here: Path, write: Write) -> None:
    told = refused(write("t.yaml", f"task: t\nmetadata: !!python/name:os.system\n{PLAIN}"))
    assert "cannot be read" in told and "python/name:os.system" in told


@pytest.mark.parametrize(
    "template",
    [
        "{{ q.__class__.__mro__[1].__subclasses__() }}",
        "{{ ''['__class__'] }}",
        "{{ '{0.__class__}'.format(q) }}",
        "{{ cycler.__init__.__globals__.os.system('touch ran') }}",
    ],
)
def test_a_template_does_not_leave_the_sandbox(here: Path, write: Write, template: str) -> None:
    text = f"task: t\n{PLAIN}doc_to_text: {json.dumps(template)}\n"
    assert "unsafe" in refused(write("t.yaml", text))


def test_what_needs_no_code_is_read(here: Path, write: Write) -> None:
    path = write("t.yaml", f"task: t\n{PLAIN}description: \"{{{{q|regex_replace('1', '2')}}}}\"\n")
    assert task_names(path) == ["t"]
    ladder = ROOT / "harness" / "ladder" / "tasks" / "_ladder"
    own = write("mine.yaml", f"include: {ladder}\ntask: mine\ndataset_kwargs: {{skill: add}}\n")
    assert task_names(own) == ["mine"]  # the package's own functions are the package's


def test_a_copy_of_the_packages_own_task_is_read_unless_a_file_shadows_its_function(
    here: Path, write: Write
) -> None:
    ladder = ROOT / "harness" / "ladder" / "tasks" / "_ladder"
    write("_copy", ladder.read_bytes())
    path = write("t.yaml", "include: _copy\ntask: t\ndataset_kwargs: {skill: add}\n")
    assert task_names(path) == ["t"]
    (here / "harness" / "ladder").mkdir(parents=True)
    write("harness/ladder/ladder_tasks.py", MARKS)
    assert "harness.ladder.ladder_tasks.problem_sets" in refused(path)


def test_allowed_code_runs(here: Path, write: Write) -> None:
    path = write("t.yaml", f"task: t\n{FUNCTION}{PLAIN}")
    assert task_names(path, trust_remote_code=True) == ["t"]
    assert Path("ran").exists()


def test_a_script_of_the_working_directory_is_no_metric(here: Path) -> None:
    import evaluate

    with confined(trusted=False), pytest.raises(InputError, match=r"my_metric.*trust_remote_code"):
        evaluate.load("my_metric")
    assert not Path("ran").exists()


def test_a_task_of_lm_eval_does_not_read_its_metric_from_the_working_directory(
    here: Path, write: Write
) -> None:
    import lm_eval.tasks

    # polemo2_in asks the evaluate library for `f1` and `accuracy`, which a folder here would shadow.
    (here / "accuracy").mkdir()
    write("accuracy/accuracy.py", MARKS)
    folder = Path(lm_eval.tasks.__file__).parent / "polemo2"
    assert f"accuracy{os.sep}accuracy.py" in refused("polemo2_in", folder)


def test_confirm_refuses_before_it_trains(
    here: Path, write: Write, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("train.jsonl", '{"prompt": "a b", "completion": "c"}\n' * 20)
    write("t.yaml", f"task: t\n{FUNCTION}{PLAIN}")
    assert main(["confirm", str(model_folder), "train.jsonl", "--tasks", "t.yaml"]) == 2
    assert "needs code (!function mine.docs" in capsys.readouterr().err
    assert not Path("ran").exists()
