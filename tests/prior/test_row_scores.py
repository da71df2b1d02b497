"""Per-example scores against published vectors, float64 logits of transformers, and what CLL cannot see."""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from advisor.data.dataset import Example, SFTDataset, load_dataset
from advisor.errors import InputError
from advisor.files import output_file
from advisor.model.load import LoadedModel
from advisor.prior.prior import measure_prior
from advisor.prior.probe import Scored
from advisor.prior.row_scores import (
    ExampleScore,
    Means,
    means_of,
    measure_scores,
    standardised,
    worst,
    write_scores,
)
from tests.helpers.paths import ROOT
from tests.helpers.tiny import tiny_model, tiny_tokenizer

Vector = NDArray[np.float64]
EXAMPLE = (ROOT / "docs" / "training.md").read_text().split("```python\nimport pandas", 1)[1]
EXAMPLE = "import pandas" + EXAMPLE.split("```", 1)[0]
"""Of docs/training.md: from scores to weights."""


def scored(p: Sequence[float], targets: Sequence[int]) -> Scored:
    """Targets, each drawn at a position where the model's distribution is `p`."""
    q = np.array(p, dtype=np.float64)
    ids = [0, *targets]
    return Scored(
        example=Example(input_ids=ids, labels=ids, terminators=(), truncated=False),
        positions=np.arange(1, len(ids)),
        log_p=np.log(q[list(targets)]).astype(np.float32),
        entropy=np.full(len(targets), entropy(q), dtype=np.float32),
        top1=q[list(targets)] == q.max(),
    )


def entropy(p: Vector) -> float:
    some = p[p > 0]
    return float(-(some * np.log(some)).sum())


def kl(q: Vector, p: Vector) -> float:
    some = q > 0
    return float((q[some] * np.log(q[some] / p[some])).sum())


def expected_cll(p: Vector, counts: Sequence[int]) -> tuple[float, Vector]:
    """CLL of targets that occur in exactly these proportions, and the proportions."""
    targets = [token for token, count in enumerate(counts) for _ in range(count)]
    return means_of(scored(p.tolist(), targets)).cll, np.array(counts) / sum(counts)


@pytest.mark.parametrize(("token", "cll"), [(0, 0.445144), (1, -0.807619), (2, -1.500767)])
def test_cll_of_a_token(token: int, cll: float) -> None:
    # p = (.7, .2, .1), entropy 0.8018186: log p + entropy, arXiv:2602.12222
    assert means_of(scored((0.7, 0.2, 0.1), [token])).cll == pytest.approx(cll, abs=1e-6)


def test_a_row_is_the_mean_over_its_targets() -> None:
    means = means_of(scored((0.7, 0.2, 0.1), [0, 2]))
    assert means.target_tokens == 2
    assert means.p == pytest.approx(0.4, abs=1e-7)
    assert means.nll == pytest.approx(1.329630, abs=1e-6)  # (-log .7 - log .1) / 2
    assert means.cll == pytest.approx(-0.527812, abs=1e-6)  # (0.445144 - 1.500767) / 2


def test_target_of_probability_0_has_finite_numbers(tmp_path: Path) -> None:
    with np.errstate(divide="ignore"):
        means = means_of(scored((0.5, 0.5, 0.0), [0, 2]))
    assert means.nll == pytest.approx((np.log(2) + 1000) / 2)
    assert means.cll == pytest.approx((-np.log(2) - 1000) / 2 + np.log(2))
    write_scores(tmp_path / "s", standardised({0: means, 1: means_of(scored((0.5, 0.5), [1]))}))
    for line in (tmp_path / "s").read_text().splitlines():
        assert np.isfinite(list(json.loads(line).values())).all()


def test_expected_cll_is_an_entropy_gap_less_a_divergence() -> None:
    cll, _ = expected_cll(np.array([0.7, 0.2, 0.1]), (1, 2, 7))
    assert cll == pytest.approx(-1.167546, abs=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(20):
        p, counts = rng.dirichlet(np.ones(7)), rng.integers(0, 30, 7).tolist()
        cll, q = expected_cll(p, counts)
        assert cll == pytest.approx(entropy(p) - entropy(q) - kl(q, p), abs=1e-6)


def test_cll_of_the_models_own_samples_is_zero() -> None:
    assert expected_cll(np.array([0.7, 0.2, 0.1]), (7, 2, 1))[0] == pytest.approx(0, abs=1e-7)


def test_a_confident_wrong_model_and_a_noisy_target_look_alike() -> None:
    p = np.array([0.9, *[0.1 / 15] * 15])
    wrong, certain = expected_cll(p, (0, 15, *[0] * 14))  # always one token that p does not expect
    noisy, uniform = expected_cll(p, (0, *[1] * 15))  # any of fifteen, all alike
    assert entropy(certain) == 0 and entropy(uniform) == pytest.approx(np.log(15))
    assert kl(certain, p) - kl(uniform, p) == pytest.approx(np.log(15))
    assert wrong == pytest.approx(noisy, abs=1e-6) and wrong < -4


def test_a_model_that_knows_nothing_scores_zero_and_only_nll_tells() -> None:
    means = means_of(scored([1 / 16] * 16, [3, 3, 7]))
    assert means.cll == pytest.approx(0, abs=1e-6)
    assert means.nll == pytest.approx(np.log(16), abs=1e-6)


def test_targets_surer_than_the_model_score_above_its_own_samples() -> None:
    cll, q = expected_cll(np.array([0.5, 0.3, 0.2]), (1, 0, 0))  # greedy decoding
    assert cll == pytest.approx(0.3365, abs=5e-5)
    assert (
        kl(q, np.array([0.5, 0.3, 0.2])) > 0
    )  # and yet it is not where the model's text comes from


def means(nll: float) -> Means:
    return Means(target_tokens=1, p=0.5, nll=nll, cll=0.0)


def test_compatibility_gives_cadfts_weights() -> None:
    # scores 1, 2, 3, 4: weights 1, 1, .6394, .2614 at beta 1, arXiv:2606.11206
    found = standardised({9: means(4), 2: means(1), 5: means(3), 3: means(2)})
    assert [score.row for score in found] == [2, 3, 5, 9]
    weights = [np.exp(min(0, score.compatibility)) for score in found]
    assert weights == pytest.approx([1, 1, 0.6394, 0.2614], abs=5e-5)
    # The likeliest row, 1.5 below the mean NLL of 2.5, is the most compatible; population deviation.
    assert found[0].compatibility == pytest.approx(1.5 / 1.118034, abs=1e-5)
    assert max(found, key=lambda score: score.compatibility).row == 2


@pytest.mark.parametrize("rows", [{4: 2.0}, {0: 2.0, 1: 2.0}])
def test_rows_that_are_all_alike_are_of_average_compatibility(rows: dict[int, float]) -> None:
    assert {s.compatibility for s in standardised({r: means(n) for r, n in rows.items()})} == {0}


def test_the_worst_rows_are_the_least_compatible() -> None:
    nll = (1.0, 9.0, 3.0, 9.0, 2.0, 8.0, 7.0)
    found = standardised(dict(enumerate(map(means, nll))))
    assert [score.row for score in worst(found)] == [1, 3, 5, 6, 2]
    assert [score.row for score in worst(found, 1)] == [1]


@pytest.fixture
def loaded() -> LoadedModel:
    return LoadedModel(
        model=tiny_model(), tokenizer=tiny_tokenizer(), name="tiny", fingerprint="0", parameters=1,
        dtype="float32", device="cpu", kind="base", notes=(),
    )  # fmt: skip


def dataset_of(loaded: LoadedModel, count: int = 40) -> SFTDataset:
    """Rows of many lengths; every tenth has no target."""
    rng = np.random.default_rng(0)

    def words(low: int, high: int) -> str:
        return " ".join(rng.choice(list("abcdefghijklm"), rng.integers(low, high)))

    rows = [{"prompt": words(1, 9) + " ", "completion": words(1, 12)} for _ in range(count)]
    for row in rows[5::10]:
        row["completion"] = ""
    return load_dataset(rows, loaded.tokenizer)


def reference(loaded: LoadedModel, example: Example) -> tuple[int, float, float, float]:
    """(targets, p, NLL, CLL) by the logits of transformers in float64, one example at a time."""
    ids = torch.tensor(example.input_ids)
    at = [i for i, label in enumerate(example.labels) if label != -100 and i]
    with torch.no_grad():
        log_p = loaded.model.double()(ids[None]).logits[0].log_softmax(-1)
    loaded.model.float()
    before = torch.tensor(at) - 1
    entropies = -(log_p.exp() * log_p).sum(-1)[before]
    targets = log_p[before, ids[at]]
    return (
        len(at),
        float(targets.exp().mean()),
        float(-targets.mean()),
        float((targets + entropies).mean()),
    )


@pytest.mark.parametrize("batch_tokens", [1, 37, 100, 100_000])
def test_every_row_equals_float64_logits_in_batches_of_any_size(
    loaded: LoadedModel, batch_tokens: int
) -> None:
    dataset = dataset_of(loaded)
    found = measure_scores(loaded, dataset, range(40), batch_tokens=batch_tokens)
    kept = [row for row in range(40) if row % 10 != 5]
    assert [score.row for score in found] == kept
    expected = [reference(loaded, dataset[row]) for row in kept]
    assert [score.target_tokens for score in found] == [numbers[0] for numbers in expected]
    actual = [(score.p, score.nll, score.cll) for score in found]
    np.testing.assert_allclose(actual, [numbers[1:] for numbers in expected], atol=2e-5, rtol=1e-5)
    nll = np.array([numbers[2] for numbers in expected])
    assert nll.std() > 0.1  # rows differ, or what follows could not fail
    np.testing.assert_allclose(
        [score.compatibility for score in found], (nll.mean() - nll) / nll.std(), atol=1e-4
    )


def test_blocks_change_no_number(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measure_scores(loaded, dataset_of(loaded), range(40))
    monkeypatch.setattr("advisor.prior.row_scores.BLOCK", 7)
    calls: list[tuple[int, int]] = []
    blocks = measure_scores(
        loaded,
        dataset_of(loaded),
        range(40),
        batch_tokens=1,
        on_progress=lambda *done: calls.append(done),
    )
    assert [score.row for score in blocks] == [score.row for score in whole]
    np.testing.assert_allclose([s.cll for s in blocks], [s.cll for s in whole], atol=1e-5)
    assert calls[-1] == (40, 40) and calls == sorted(set(calls))
    assert len(calls) == 36  # one example a batch, the four without a target in none


def test_weighted_by_tokens_the_rows_give_the_prior(loaded: LoadedModel) -> None:
    dataset = dataset_of(loaded)
    found = measure_scores(loaded, dataset, range(40))
    prior = measure_prior(loaded, dataset, exact=True)
    tokens = [score.target_tokens for score in found]
    for name, value in (("p", prior.mean_p), ("nll", -prior.mean_log_p), ("cll", prior.cll)):
        by_row = [getattr(score, name) for score in found]
        assert np.average(by_row, weights=tokens) == pytest.approx(value, abs=1e-5), name


def test_only_the_rows_asked_for_are_scored(loaded: LoadedModel) -> None:
    dataset = dataset_of(loaded)
    assert [score.row for score in measure_scores(loaded, dataset, [3, 0, 5])] == [0, 3]
    assert dataset.counts.examples == 3
    with pytest.raises(InputError, match="none of the 1 rows read has a target token"):
        measure_scores(loaded, dataset_of(loaded), [5])


def score(row: int) -> ExampleScore:
    return ExampleScore(row=row, target_tokens=3, p=0.25, nll=1.5, cll=-0.5, compatibility=2.0)


def test_a_line_a_row(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    path.write_text("older\n")
    write_scores(path, [score(0), score(7)])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["row"] for line in lines] == [0, 7]
    assert lines[1] == {
        "row": 7, "target_tokens": 3, "p": 0.25, "nll": 1.5, "cll": -0.5, "compatibility": 2.0
    }  # fmt: skip
    assert Counter(tmp_path.iterdir()) == {path: 1}  # nothing half written is left


def test_what_is_no_number_is_null(tmp_path: Path) -> None:
    write_scores(tmp_path / "s", [replace(score(0), cll=float("nan"), compatibility=-float("inf"))])
    line = json.loads((tmp_path / "s").read_text())
    assert line == {**asdict(score(0)), "cll": None, "compatibility": None}


def scores_path(scores: str, dataset: str) -> Path:
    """The file of `advisor validate --scores`."""
    return output_file(scores, flag="--scores", dataset=dataset)


def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text("{}\n")
    (tmp_path / "link.jsonl").symlink_to(data)
    for bad, why in (
        (str(tmp_path / "link.jsonl" / "inside.jsonl"), "is DATASET itself"),
        (str(tmp_path), "cannot be written"),
        (str(data), "is DATASET itself"),
        (str(tmp_path / "new" / ".." / "data.jsonl"), "is DATASET itself"),
        (str(tmp_path / "link.jsonl"), "is DATASET itself"),
    ):
        with pytest.raises(InputError, match=why) as refusal:
            scores_path(bad, str(data))
        assert "\n" not in str(refusal.value) and "--scores" in str(refusal.value)
    assert data.read_text() == "{}\n"
    assert scores_path(str(tmp_path / "new" / "s.jsonl"), "hub/id").parent.is_dir()
    assert scores_path(str(tmp_path / "new" / "s.jsonl"), str(data)).name == "s.jsonl"
    with pytest.raises(InputError, match=r"Not a directory|File exists"):
        scores_path(str(data / "inside.jsonl"), "hub/id")


def test_no_file_of_a_dataset_folder_is_written(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "train.jsonl").write_text("{}\n")
    elsewhere.symlink_to(folder)
    outside = tmp_path / "link.jsonl"
    outside.symlink_to(folder / "train.jsonl")
    (folder / "out.jsonl").symlink_to(tmp_path / "far.jsonl")
    for bad in (
        "data/train.jsonl",
        "elsewhere/new.jsonl",
        "data/a/b.jsonl",
        "link.jsonl",
        "data/out.jsonl",
    ):
        with pytest.raises(InputError, match=f"--scores .*{bad} lies within DATASET"):
            scores_path(str(tmp_path / bad), str(folder))
    assert not (folder / "a").exists()
    assert scores_path(str(tmp_path / "data2.jsonl"), str(folder)) == tmp_path / "data2.jsonl"


def test_a_folder_without_write_permission_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(InputError, match="cannot be written"):
        scores_path(str(tmp_path / "s.jsonl"), "hub/id")


def command(capsys: Any, *argv: object) -> tuple[int, str, str]:
    from harness.cli.main import main

    code = main([str(argument) for argument in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Seven rows, the second without a target; of the last the model has the lowest opinion."""
    path = tmp_path / "data.jsonl"
    words = ("a b c", "", "c c d", "m l k", "d", "f g h i", "a a a a")
    rows = [{"prompt": "a b ", "completion": completion} for completion in words]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_validate_scores_the_rows_and_names_the_worst(
    capsys: Any, model_folder: Path, data: Path, tmp_path: Path
) -> None:
    path = tmp_path / "new" / "scores.jsonl"
    code, out, err = command(capsys, "validate", model_folder, data, "--scores", path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert code == 0 and [line["row"] for line in lines] == [0, 2, 3, 4, 5, 6]
    assert "«" in out and "float32" in err
    by_nll = sorted(lines, key=lambda line: -line["nll"])[:5]
    shown = [row.split() for row in out.split("Least compatible rows")[1].splitlines()]
    numbers = [row for row in shown if row and row[0].isdigit()]
    assert [row[0] for row in numbers] == [str(line["row"]) for line in by_nll]
    for row, line in zip(numbers, by_nll, strict=True):
        assert [float(cell) for cell in row[3:]] == pytest.approx(
            [line[name] for name in ("nll", "cll", "compatibility")], abs=0.0051
        )


def test_validate_scores_for_machines(
    capsys: Any, model_folder: Path, data: Path, tmp_path: Path
) -> None:
    path = tmp_path / "scores.jsonl"
    argv = ("validate", model_folder, data, "--json", "--limit", "4")
    _, out, _ = command(capsys, *argv, "--scores", path, "--dtype", "float32")
    answer = json.loads(out)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["row"] for line in lines] == [0, 2, 3]
    assert answer["worst"] == sorted(lines, key=lambda line: -line["nll"])
    without = json.loads(command(capsys, *argv)[1])
    assert without == {key: value for key, value in answer.items() if key != "worst"}


def test_validate_reads_weights_only_for_scores(capsys: Any, data: Path, tmp_path: Path) -> None:
    tiny_tokenizer().save_pretrained(tmp_path / "bare")
    tiny_model().config.save_pretrained(tmp_path / "bare")  # no weights at all
    assert command(capsys, "validate", tmp_path / "bare", data)[0] == 0
    scores = tmp_path / "scores.jsonl"
    code, out, err = command(capsys, "validate", tmp_path / "bare", data, "--scores", scores)
    assert code == 2 and out == "" and err.startswith("advisor: error: ") and not scores.exists()


def test_the_dataset_is_never_overwritten(capsys: Any, model_folder: Path, data: Path) -> None:
    before = data.read_bytes()
    code, _, err = command(capsys, "validate", model_folder, data, "--scores", data)
    assert code == 2 and "is DATASET itself" in err and data.read_bytes() == before


def test_scores_become_weights_that_are_read_back(
    capsys: Any, model_folder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example of docs/training.md: mean p of a row as its weight; what has no score is left out."""
    path, weighed = tmp_path / "scores.jsonl", tmp_path / "weighed.jsonl"
    assert command(capsys, "validate", model_folder, data, "--scores", path)[0] == 0
    shutil.copy(data, tmp_path / "train.jsonl")
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(EXAMPLE, found)
    scores = found["scores"]
    dataset = load_dataset(weighed, tiny_tokenizer())
    for row, example in enumerate(dataset):
        if row in scores.index:
            assert example.weights is not None
            assert example.weights[-1] == pytest.approx(scores["p"][row], rel=1e-6)
    assert dataset.counts.reasons == {"marked weight 0": 1}
    _, out, err = command(capsys, "validate", model_folder, weighed)
    assert "weights" in out and "in 6 of 7 rows" in out and "the prior does not count it" in err
    again = tmp_path / "again.jsonl"
    assert command(capsys, "validate", model_folder, weighed, "--scores", again)[0] == 0
    assert again.read_text() == path.read_text()  # weights change no score


def test_texts_are_weighed_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks where the example has pandas make 7 of "007"."""
    rows = [
        {"prompt": "2020-01-01", "completion": text, "date": "2020-01-01"}
        for text in ("007", "1.50", "1e5")
    ]
    (tmp_path / "train.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (tmp_path / "scores.jsonl").write_text('{"row": 1, "p": 0.5}\n')
    monkeypatch.chdir(tmp_path)
    exec(EXAMPLE, {})
    weighed = [json.loads(line) for line in Path("weighed.jsonl").read_text().splitlines()]
    weights = [row.pop("weight") for row in weighed]
    assert weighed == rows and weights == [0, 0.5, 0]


def test_validate_says_how_many_targets_weigh_nothing(
    capsys: Any, model_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "data.jsonl"
    spans = [{"start": 0, "end": 3, "weight": 0}, {"start": 4, "end": 5, "weight": 3}]
    path.write_text(json.dumps({"prompt": "a ", "completion": "b c d", "spans": spans}))
    _, out, _ = command(capsys, "validate", model_folder, path)
    assert (
        "0 to 3 in 1 of 1 rows; 2 tokens, 50.0% of the targets, weigh 0 and are not trained" in out
    )
    assert "«[3]  d»" in out or "«[3] d»" in out
    found = json.loads(command(capsys, "validate", model_folder, path, "--json")[1])
    assert {name: found[name] for name in ("weighted", "weightless", "lightest", "heaviest")} == {
        "weighted": 1, "weightless": 2, "lightest": 1.0, "heaviest": 3.0,
    }  # fmt: skip


def test_the_prior_is_that_of_the_targets_whatever_they_weigh(loaded: LoadedModel) -> None:
    rows = [{"prompt": "a b ", "completion": text} for text in ("c d", "e f g", "h i")]
    spans = [{"start": 0, "end": 1, "weight": 0}]

    def measured(*changed: dict[str, Any]) -> dict[str, Any]:
        dataset = load_dataset(list(changed), loaded.tokenizer)
        found = asdict(measure_prior(loaded, dataset, exact=True))
        return {
            k: v for k, v in found.items() if k not in ("dataset", "seconds", "notes", "dropped")
        }

    plain = measured(*rows)
    assert measured(*({**row, "weight": 0.1 + i} for i, row in enumerate(rows))) == plain
    assert measured({**rows[0], "weight": 0}, *rows[1:]) == measured(*rows[1:])
    less = measured({**rows[0], "spans": spans}, *rows[1:])
    assert less["target_tokens"] == plain["target_tokens"] - 1
