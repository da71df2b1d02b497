"""One definition of a flag: options, the library's signatures and the command line agree."""

import ast
import inspect
from dataclasses import MISSING, fields
from typing import Any

import pytest

from advisor.data.dataset import load_dataset
from advisor.model.load import load_model
from advisor.options import DataOptions, ModelOptions, Options, PriorOptions, switches
from advisor.prior.prior import measure_prior
from harness.cli.flags import read
from harness.cli.parser import COMMANDS, build_parser, command, parse
from harness.compare.compare import compare
from harness.distill.distill_options import DistillOptions
from harness.distill.fire_settings import Fire, fire_settings
from harness.evaluate.scoring_options import ScoreOptions, ScoringOptions
from harness.generate.rewrite_settings import DEFAULT, RewriteOptions
from harness.study.executors import EXECUTORS
from harness.study.study_options import EXECUTOR_NAMES, StudyOptions
from harness.train.training_options import TrainingOptions
from tests.helpers.paths import ROOT

NOT_OPTIONS = {
    load_model: {"model", "tokenizer"},
    load_dataset: {"source", "tokenizer", "context_length"},
    measure_prior: {"loaded", "dataset", "settled", "on_progress"},
    compare: {"paths", "baseline", "task", "temperature"},
}
"""Parameters that are no choice of the user's, or of the command's own."""


@pytest.mark.parametrize(
    ("kind", "function"),
    [
        (ModelOptions, load_model),
        (DataOptions, load_dataset),
        (PriorOptions, measure_prior),
        (ScoreOptions, compare),
    ],
)
def test_options_are_the_keywords_of_the_function(kind: type[Options], function: Any) -> None:
    parameters = inspect.signature(function).parameters
    wanted = {
        name: parameter.default
        for name, parameter in parameters.items()
        if name not in NOT_OPTIONS[function]
    }
    assert {field.name: field.default for field in fields(kind)} == wanted  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("recommend", (ModelOptions, DataOptions, PriorOptions)),
        ("train", (ModelOptions, DataOptions, TrainingOptions)),
        ("distill", (ModelOptions, DataOptions, DistillOptions)),
        ("confirm", (ModelOptions, DataOptions, StudyOptions, ScoringOptions)),
        ("rewrite", (ModelOptions, DataOptions, RewriteOptions)),
    ],
)
def test_without_flags_a_command_has_the_defaults_of_its_options(
    name: str, kinds: tuple[type[Options], ...]
) -> None:
    needed = {"output_dir": "o", "output_path": "o.jsonl"}
    words = {
        "train": ["--output_dir", "o"],
        "distill": ["--output_dir", "o"],
        "rewrite": ["-o", "o.jsonl"],
    }
    args = parse([name, "M", "D", *words.get(name, [])])
    for kind in kinds:
        required = {f.name: needed[f.name] for f in fields(kind) if f.default is MISSING}  # type: ignore[arg-type]
        assert read(kind, args) == kind(**required)


def test_flags_become_typed_fields() -> None:
    words = ["--learning_rates", "1e-3", "5e-4", "--teacher", "a=x", "--teacher", "b=y", "--full"]
    words += ["--tasks", "t", "--apply_chat_template", "--higher_is_better", "false", "-L", "6"]
    args = parse(["confirm", "M", "D", "--dataset-config", "main", "--drop_bad_rows", *words])
    study, scoring, data = (
        read(kind, args) for kind in (StudyOptions, ScoringOptions, DataOptions)
    )
    assert study == StudyOptions(learning_rates=(1e-3, 5e-4), teacher=("a=x", "b=y"), full=True)
    assert scoring == ScoringOptions(
        tasks=("t",), apply_chat_template=True, higher_is_better=False, limit=6
    )
    assert data == DataOptions(config="main", drop_bad_rows=True)
    assert {n: v for n, v in data.said().items() if v} == {
        "dataset_config": "main",
        "drop_bad_rows": True,
    }


def test_switches_are_what_is_true_or_false() -> None:
    assert switches(DataOptions) == ("drop_bad_rows",)
    assert switches(ModelOptions) == ("trust_remote_code", "allow_pickle")


def test_names_and_defaults_stand_once() -> None:
    assert tuple(EXECUTORS) == EXECUTOR_NAMES
    assert RewriteOptions(output_path="o").settings() == DEFAULT
    assert fire_settings("fire", {}) == Fire()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_ends_with_an_example_that_parses(name: str) -> None:
    module = command(name)
    assert module.EXAMPLE.startswith(f"advisor {name} ")
    parse(module.EXAMPLE.split()[1:])
    with pytest.raises(SystemExit):
        parse([name, "--help"])


def test_the_help_of_the_program_needs_no_command(capsys: Any) -> None:
    text = build_parser([]).format_help()
    assert all(name in text for name in COMMANDS)


def test_no_file_below_the_command_line_knows_argparse() -> None:
    def uses(text: str) -> bool:
        return any(
            (isinstance(node, ast.Import) and any(a.name == "argparse" for a in node.names))
            or (isinstance(node, ast.ImportFrom) and node.module == "argparse")
            for node in ast.walk(ast.parse(text))
        )

    allowed = ("harness/cli/", "harness/experiments/")
    found = [
        path.relative_to(ROOT).as_posix()
        for package in ("advisor", "harness")
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.name != "__main__.py" and uses(path.read_text(encoding="utf-8"))
    ]
    assert not [name for name in found if not name.startswith(allowed)]
