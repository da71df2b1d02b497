"""The ladder: its skills and noise, a build in miniature, and the shipped rungs' card."""

import hashlib
import json
import math
import re
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from random import Random
from string import ascii_lowercase

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from advisor.errors import InputError
from harness import ladder
from harness.cli.parser import parse
from harness.experiments.calibration.grid import SIZES
from harness.ladder import RUNGS, fresh, invented, pretrain, resolve, skills
from harness.ladder.__main__ import MINIATURE
from harness.ladder.__main__ import main as ladder_main
from harness.ladder.build import build, write_demonstrations
from harness.ladder.card import card_table, read_card
from harness.ladder.ladder_tasks import problem_sets, task_rows
from harness.ladder.letters import ALPHABET, build_tokenizer
from harness.ladder.score import demonstration_prior, greedy_accuracy, greedy_answers

ROOT = Path(ladder.__file__).parent
CARD = read_card(ROOT)


def left_to_right(text, apply):
    """Evaluates a term-operator-term text strictly from left to right."""
    first, *rest = re.findall(r"\d+|[^\d]", text)
    total = int(first)
    for sign, term in zip(rest[::2], rest[1::2], strict=True):
        total = apply(total, sign, int(term))
    return str(total)


def solve_lin(prompt):
    a, b, c = map(int, re.fullmatch(r"(\d+)x\+(\d+)=(\d+)", prompt).groups())
    return str(next(x for x in range(100) if a * x + b == c))


def solve_unit(prompt, hour=60):
    hours, minutes = re.fullmatch(r"(\d+)h(\d+)m", prompt).groups()
    return str(int(hours) * hour + int(minutes))


def solve_kv(prompt):
    listing, key = prompt.split("?")
    return dict(pair.split(":") for pair in listing.split(","))[key]


def solve_day(prompt):
    days = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
    start, shift = prompt.split("+")
    return (days * 6)[days.index(start) + int(shift)]


def moved(places):
    """What each letter becomes, so many places on in the ring."""
    order = fresh.RING
    return {ord(order[i]): order[(i + places) % 26] for i in range(26)}


SOLVERS = {
    "add": lambda prompt: str(sum(map(int, prompt.split("+")))),
    "chain": lambda prompt: str(eval(prompt)),
    "lin": solve_lin,
    "unit": solve_unit,
    "rev": lambda prompt: prompt.removeprefix("rev:")[::-1],
    "sort": lambda prompt: "".join(sorted(prompt.removeprefix("sort:"))),
    "kv": solve_kv,
    "day": solve_day,
    "nov": lambda prompt: left_to_right(prompt, lambda a, _, b: invented.TABLE[a][b]),
    "say": lambda prompt: " ".join(invented.WORDS[int(digit)] for digit in prompt[4:]),
    "pair": lambda prompt: " ".join(
        invented.WORDS[int(units)] + invented.TENS[int(tens)]
        for tens, units in re.findall(r"(\d)(\d)", prompt)
    ),
    "tag": lambda prompt: "".join(str(invented.CODE[letter]) for letter in prompt[4:]),
    "alt": lambda prompt: "".join(sorted(prompt[4:], key=lambda c: invented.ORDER.index(int(c)))),
    "sev": lambda prompt: str(sum(map(int, prompt[4:].split())) % 7),
    "ring": lambda prompt: prompt[5:].translate(moved(2)),
    "top": lambda prompt: str(max(int(a) + int(b) for a, b in combinations(prompt[4:], 2))),
    "sec": lambda prompt: solve_unit(prompt[:-1].replace("m", "h") + "m"),
    **{
        name: lambda prompt, name=name: left_to_right(
            prompt, lambda a, _, b: invented.make_table(name)[a][b]
        )
        for name in invented.SIGNS
    },
}


def rows(skill, n, noise="none", rate=0.0, seed=3):
    rng = Random(seed)
    return [skills.demonstration(skill, rng, noise=noise, rate=rate) for _ in range(n)]


def right(skill, row):
    return row["completion"].rpartition("#")[2] == SOLVERS[skill](row["prompt"].removesuffix("|"))


@pytest.mark.parametrize("skill", skills.SKILLS)
def test_answers_are_right(skill):
    assert set(SOLVERS) == set(skills.SKILLS)
    for row in rows(skill, 300):
        assert right(skill, row), row


@pytest.mark.parametrize("skill", ["add", "chain", "lin", "unit", "day", "sec"])
def test_written_steps_are_true(skill):
    for row in rows(skill, 100):
        for step in row["completion"].partition("#")[0].split(","):
            left, result = step.split("=")
            assert eval(left) == int(result), row


def test_written_steps_of_fresh_skills_are_true():
    assert sorted(fresh.RING) == sorted(ascii_lowercase)
    for row in rows("ring", 100):
        moves = row["completion"].partition("#")[0].split(",")
        assert "".join(move[0] for move in moves) == row["prompt"][5:8]
        assert all(b == a.translate(moved(1)) for m in moves for a, b in pairwise(m.split(":")))
    for row in rows("top", 100):
        *digits, last = row["completion"].partition("#")[0].split(",")
        assert digits == sorted(row["prompt"][4:9])
        assert last == f"{digits[3]}+{digits[4]}={int(digits[3]) + int(digits[4])}"


def test_text_is_in_the_alphabet_and_fits_the_context():
    for skill in skills.SKILLS:
        for row in rows(skill, 200, "mix", 1.0):
            text = row["prompt"] + row["completion"]
            assert set(text) <= set(ALPHABET)
            assert len(text) < pretrain.CONTEXT
            assert text.count("|") == 1
            assert row["prompt"].endswith("|")


def test_the_operator_table_is_not_arithmetic():
    cells = [(a, b, invented.TABLE[a][b]) for a in range(10) for b in range(10)]
    for rule in (lambda a, b: a + b, lambda a, b: a * b, lambda a, b: a - b):
        assert sum(rule(a, b) % 10 == c for a, b, c in cells) < 30
    assert all(len(set(row)) > 3 for row in invented.TABLE)  # the right digit matters
    assert all(len(set(column)) > 3 for column in zip(*invented.TABLE, strict=True))


@pytest.mark.parametrize(("name", "share"), [("op25", 0.25), ("op50", 0.5), ("op75", 0.75)])
def test_the_text_has_a_part_of_a_graded_operator(name, share):
    def cells(skill):
        steps = [step for i in range(3000) for step in skill(Random(i)).steps]
        return {(int(step[0]), int(step[2])) for step in steps}

    part = cells(skills.PRETRAINED[name])
    assert len(part) <= 100 * share
    assert len(part) > 80 * share  # some cells are reached from no other
    assert len(cells(skills.SKILLS[name])) == 100


def test_noise_comes_at_its_rate_and_leaves_the_prompts():
    noisy, clean = rows("chain", 2000, "slip", 0.4), rows("chain", 2000)
    assert [row["prompt"] for row in noisy] == [row["prompt"] for row in clean]
    share = sum(not right("chain", row) for row in noisy) / 2000
    assert share == pytest.approx(0.4, abs=4 * math.sqrt(0.24 / 2000))


@pytest.mark.parametrize("skill", [*skills.KNOWN, *fresh.FRESH])
def test_each_noise_does_what_it_says(skill):
    clean = rows(skill, 50)
    noisy = {noise: rows(skill, 50, noise, 1.0) for noise in ("slip", "answer", "bare", "filler")}
    for i, row in enumerate(clean):
        completion = {noise: noisy[noise][i]["completion"] for noise in noisy}
        steps, _, _ = row["completion"].partition("#")
        assert completion["slip"].partition("#")[0] != steps
        assert completion["answer"].partition("#")[0] == steps
        assert not right(skill, noisy["answer"][i])
        assert completion["bare"] == "#" + SOLVERS[skill](row["prompt"][:-1])
        assert completion["filler"].endswith(" " + row["completion"])


def test_a_slip_propagates():
    row = rows("chain", 1, "slip", 1.0)[0]
    steps = [step.split("=") for step in row["completion"].partition("#")[0].split(",")]
    assert sum(eval(left) != int(result) for left, result in steps) == 1
    for (_, result), (left, _) in pairwise(steps):
        assert re.match(r"\d+", left)[0] == result
    assert row["completion"].endswith(f"#{steps[-1][1]}")


def test_mix_draws_all_four_noises():
    kinds = {"filler": 0, "bare": 0, "wrong": 0}
    for row in rows("chain", 1000, "mix", 1.0):
        completion = row["completion"]
        kinds["filler"] += completion[0].isalpha()
        kinds["bare"] += completion[0] == "#"
        kinds["wrong"] += not right("chain", row)
    assert all(
        abs(n - expected) < 80 for n, expected in zip(kinds.values(), (250, 250, 500), strict=True)
    )


def test_systematic_annotators_follow_their_wrong_rule():
    for row in rows("chain", 100, "systematic", 1.0):
        wrong = str(sum(map(int, re.findall(r"\d+", row["prompt"]))))
        assert row["completion"].rpartition("#")[2] == wrong
    for row in rows("unit", 100, "systematic", 1.0):
        assert row["completion"].rpartition("#")[2] == solve_unit(row["prompt"][:-1], hour=100)
    for row in rows("sort", 100, "systematic", 1.0):
        down = "".join(sorted(row["prompt"][5:-1], reverse=True))
        assert row["completion"].rpartition("#")[2] == down
    for row in rows("lin", 100, "systematic", 1.0):
        a, b, c = map(int, re.findall(r"\d+", row["prompt"]))
        assert row["completion"].rpartition("#")[2] == str((c + b) // a)
    for row in rows("add", 100, "systematic", 1.0):
        left, right_ = row["prompt"][:-1].split("+")
        pairs = [(int(a), int(b)) for a, b in zip(left, right_, strict=True)]
        dry = sum(pairs[0]) * 100 + sum(pairs[1]) % 10 * 10 + sum(pairs[2]) % 10
        assert row["completion"].rpartition("#")[2] == str(dry)


@pytest.mark.parametrize("noise", ["notation", "styles"])
@pytest.mark.parametrize("skill", ["chain", "kv", "rev"])
def test_other_manners_keep_the_answer(skill, noise):
    assert all(right(skill, row) for row in rows(skill, 100, noise, 1.0))
    assert all(a != b for a, b in zip(rows(skill, 50, noise, 1.0), rows(skill, 50), strict=True))


def test_tokenizer_round_trip(tmp_path):
    build_tokenizer().save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    text = ALPHABET + "$"
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == len(text) == len(set(ids))
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(ids, skip_special_tokens=True) == ALPHABET
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer("A\n")["input_ids"] == [tokenizer.unk_token_id] * 2
    assert tokenizer.convert_ids_to_tokens(tokenizer("<bos>1")["input_ids"]) == ["<bos>", "1"]


def test_pretraining_text_has_the_stated_shares():
    recipe = pretrain.Recipe(skills=("chain",))
    rng = Random(5)
    documents = [pretrain.document(recipe, rng) for _ in range(2000)]
    assert all(document[-1] == "$" and document.count("$") == 1 for document in documents)
    bare = sum("|#" in document for document in documents) / 2000
    wrong = (
        sum(str(eval(d.partition("|")[0])) != d[:-1].rpartition("#")[2] for d in documents) / 2000
    )
    assert bare == pytest.approx(0.5, abs=0.045)
    assert wrong == pytest.approx(0.1, abs=0.027)


@pytest.mark.parametrize(
    ("recipe", "text"),
    [(pretrain.Recipe(), "b6acde0e89cb"), *((recipe, "77b034ef7353") for recipe in SIZES.values())],
)
def test_pretraining_text_is_that_of_the_models_that_exist(recipe, text):
    assert not {*recipe.skills} & {*fresh.FRESH, *invented.INVENTED}
    rng = Random(0)
    read = "".join(pretrain.document(recipe, rng) for _ in range(1000))
    assert hashlib.sha256(read.encode()).hexdigest()[:12] == text


def test_learning_rate_schedule():
    values = [pretrain.schedule(step, 4000) for step in (1, 50, 100, 3000, 3501, 4000)]
    assert values == pytest.approx([0.01, 0.5, 1.0, 1.0, 0.5, 0.001])


def state(recipe, seed, stops, folder):
    return [
        (step, {name: value.clone() for name, value in model.state_dict().items()})
        for step, model in pretrain.pretrain(recipe, seed=seed, stops=stops, folder=folder)
    ]


def equal(left, right):
    return all(torch.equal(left[name], right[name]) for name in left)


def test_same_seed_same_weights_also_after_a_kill(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "SAVE_EVERY", 5)
    recipe = replace(pretrain.MINIATURE, steps=12)
    (_, early), (_, late) = state(recipe, 0, [7, 12], tmp_path)
    assert not equal(early, late)
    assert not equal(late, state(recipe, 1, [12], tmp_path)[-1][1])
    assert not list(tmp_path.iterdir())

    killed = pretrain.pretrain(recipe, seed=0, stops=[7, 12], folder=tmp_path)
    next(killed)
    killed.close()
    assert [path.suffix for path in tmp_path.iterdir()] == [".pt"]
    monkeypatch.setattr(pretrain, "batch", _only_after(5, pretrain.batch))
    assert equal(late, state(recipe, 0, [7, 12], tmp_path)[-1][1])


def _only_after(first, batch):
    def checked(recipe, seed, step, tokenizer, stories):
        assert step > first
        return batch(recipe, seed, step, tokenizer, stories)

    return checked


def test_stories_are_half_of_what_is_read():
    text = pretrain.readable("Once upon a time,\n\nThere was a FOX. " * 20 + "\u00e9!")
    assert set(text) <= set(ALPHABET)
    recipe = replace(pretrain.LARGE, rows=400)
    tokenizer = build_tokenizer()
    ids = pretrain.batch(recipe, 0, 1, tokenizer, text)
    read = [tokenizer.decode(row) in text for row in ids]
    assert sum(read) / len(read) == pytest.approx(0.5, abs=0.1)
    assert ids.shape == (400, recipe.length)


def test_a_large_model_has_50_million_parameters():
    with torch.device("meta"):
        model = pretrain.new_model(pretrain.LARGE, 0, build_tokenizer())
    assert 45e6 < model.num_parameters() < 55e6


@pytest.mark.parametrize("words", [[], ["--stories", "nowhere.txt"], ["--stories", "short.txt"]])
def test_a_large_build_without_stories_is_refused_in_one_line(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short.txt").write_text("once")
    monkeypatch.setattr("sys.argv", ["ladder", "build", "--size", "50M", *words])
    with pytest.raises(SystemExit) as stopped:
        ladder_main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_the_build_command_with_stories_in_small(tmp_path, monkeypatch):
    """Protects the command that builds a rung, stories and all, from end to end."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.txt").write_text("once upon a time " * 20)
    monkeypatch.setitem(MINIATURE, "miniature", replace(MINIATURE["miniature"], step=5))
    words = ["ladder", "build", "--miniature", "--stories", "s.txt", "--output_dir", "out"]
    monkeypatch.setattr("sys.argv", words)
    ladder_main()
    card = read_card(tmp_path / "out")["miniature"]
    assert card["recipe"]["stories"] == 0.5
    assert (tmp_path / "out/models/miniature/model.safetensors").is_file()


def test_demonstrations_of_any_skills_are_drawn_and_none_is_scored(tmp_path, monkeypatch):
    path = tmp_path / "new" / "d.jsonl"
    words = ["ladder", "draw", "chain", "lin", "--rows", "30", "--noise", "bare", "-o", str(path)]
    monkeypatch.setattr("sys.argv", words)
    ladder_main()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["skill"] for row in rows] == ["chain", "lin"] * 30
    assert all(row["completion"].startswith("#") for row in rows)
    scored = {
        row["prompt"]
        for skill in ("chain", "lin")
        for part in problem_sets(skill).values()
        for row in part
    }
    assert scored.isdisjoint(row["prompt"] for row in rows)
    first = path.read_bytes()
    ladder_main()
    assert path.read_bytes() == first
    monkeypatch.setattr("sys.argv", [*words, "--seed", "1"])
    ladder_main()
    assert path.read_bytes() != first


def test_a_skill_named_twice_is_drawn_once(tmp_path, monkeypatch):
    found = []
    for words in (["add", "add"], ["add"]):
        path = tmp_path / f"{len(words)}.jsonl"
        monkeypatch.setattr("sys.argv", ["ladder", "draw", *words, "--rows", "5", "-o", str(path)])
        ladder_main()
        found.append(path.read_text())
    assert found[0] == found[1] and found[0].count("\n") == 5


def test_rows_that_cannot_be_written_are_refused_in_one_line(tmp_path, monkeypatch, capsys):
    words = ["ladder", "draw", "add", "--rows", "2", "-o", str(tmp_path)]  # a folder
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as stopped:
        ladder_main()
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and said.count("\n") == 1
    assert f"-o {tmp_path}: Is a directory" in said


@pytest.mark.parametrize(
    "words",
    [
        ["day"],
        ["chian"],
        ["chain", "--noise", "loud"],
        ["add", "--rows", "-1"],
        ["add", "--rows", "0"],
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(words, tmp_path, monkeypatch, capsys):
    path = tmp_path / "d.jsonl"
    monkeypatch.setattr("sys.argv", ["ladder", "draw", *words, "-o", str(path)])
    with pytest.raises(SystemExit) as stopped:
        ladder_main()
    assert stopped.value.code == 2 and not path.exists()
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_miniature_build_learns(tmp_path):
    """Protects the building of the ladder: a small build learns what its skills ask."""
    build(MINIATURE, pretrain.MINIATURE, seed=0, output_dir=tmp_path)
    card = read_card(tmp_path)["miniature"]
    tokenizer = build_tokenizer()
    demonstrations = read_rows(tmp_path / "demonstrations/miniature.jsonl")
    untrained = demonstration_prior(
        pretrain.new_model(pretrain.MINIATURE, 0, tokenizer), tokenizer, demonstrations
    )
    assert untrained.mean_log_p == pytest.approx(-math.log(56), abs=0.3)
    assert card["prior"]["mean_log_p"] > untrained.mean_log_p + 3
    assert card["greedy_accuracy"]["day"] > 0.4  # chance is 1 of 7
    assert card["weights_sha256"] == sha256(tmp_path / "models/miniature/model.safetensors")
    assert not list(tmp_path.glob("*.pt"))


def test_answers_need_a_terminator():
    class Parrot:
        eos_token = "$"

        def __call__(self, prompts, **_):
            ids = torch.zeros(len(prompts), 1, dtype=torch.long)
            return {"input_ids": ids, "attention_mask": ids}

        def generate(self, **_):
            return torch.zeros(3, 2)

        def batch_decode(self, _):
            return ["1+1=2#2$<pad>", "1+1=2#2", "no answer$"]

    assert greedy_answers(Parrot(), Parrot(), ["1+1|"] * 3) == ["2", "", "no answer"]


def read_rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_resolve_names_the_nearest_rung_first():
    for name in RUNGS:
        folder, demonstrations = resolve(name)
        assert (folder / "model.safetensors").is_file()
        assert demonstrations.is_file()
    with pytest.raises(InputError, match=r"'weka'.*use one of weak, ") as error:
        resolve("weka")
    assert all(name in str(error.value) for name in RUNGS)
    assert "\n" not in str(error.value)


def test_the_ladder_is_small_and_graded():
    assert sum(path.stat().st_size for path in ROOT.rglob("*") if path.is_file()) < 10e6
    assert len({CARD[name]["rung"]["step"] for name in RUNGS}) == 3
    means = {name: CARD[name]["prior"]["mean_p"] for name in RUNGS}
    assert means["strong"] >= 0.675
    assert 0.32 <= means["mid"] <= 0.62
    assert means["weak"] < 0.25
    known = {n: sum(CARD[n]["greedy_accuracy"][s] for s in skills.KNOWN) for n in RUNGS}
    assert known["strong"] > known["mid"] > known["weak"]


@pytest.mark.parametrize("name", RUNGS)
def test_shipped_demonstrations_are_those_of_the_table(name, tmp_path):
    rebuilt = tmp_path / "rows.jsonl"
    write_demonstrations(rebuilt, RUNGS[name], CARD[name]["seed"])
    assert rebuilt.read_bytes() == resolve(name)[1].read_bytes()
    assert sha256(rebuilt) == CARD[name]["demonstrations_sha256"]


@pytest.mark.parametrize("name", RUNGS)
def test_demonstrations_of_another_seed_hold_no_problem_of_the_task(name, tmp_path):
    write_demonstrations(tmp_path / "rows.jsonl", RUNGS[name], 1)
    lines = (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    scored = {row["prompt"] for row in task_rows(RUNGS[name].skill)}
    assert len(scored) == 400 and not scored & {json.loads(line)["prompt"] for line in lines}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNGS)
def test_shipped_model_scores_as_its_card_says(name):
    """Protects the shipped models: each answers as its card says that it does."""
    folder, demonstrations = resolve(name)
    assert sha256(folder / "model.safetensors") == CARD[name]["weights_sha256"]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.generation_config.do_sample
    assert model.generation_config.temperature == 1.0
    total, count = 0.0, 0
    for row in read_rows(demonstrations):
        prompt = tokenizer(row["prompt"])["input_ids"]
        target = [*tokenizer(row["completion"])["input_ids"], tokenizer.eos_token_id]
        with torch.no_grad():
            logits = model(torch.tensor([prompt + target])).logits[0]
        p = torch.log_softmax(logits[len(prompt) - 1 : -1].double(), -1).exp()
        total += p[torch.arange(len(target)), target].sum().item()
        count += len(target)
    assert count == CARD[name]["prior"]["target_tokens"]
    assert total / count == pytest.approx(CARD[name]["prior"]["mean_p"], abs=2e-3)


def test_strong_answers_fresh_problems_as_its_card_says():
    folder, _ = resolve("strong")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    said = CARD["strong"]["greedy_accuracy"]
    skill = max(said, key=said.get)
    problems = [skills.SKILLS[skill](Random(f"fresh {i}")).prompt for i in range(40)]
    answers = greedy_answers(model, tokenizer, [f"{prompt}|" for prompt in problems])
    found = sum(map(str.__eq__, answers, map(SOLVERS[skill], problems))) / 40
    p = (said[skill] * 200 + 2) / 204
    assert found == pytest.approx(said[skill], abs=4 * math.sqrt(p * (1 - p) * (1 / 40 + 1 / 200)))
    assert greedy_accuracy(model, tokenizer, "nov", 40, 9) < 0.3


def test_a_rows_first_token_hardly_matters():
    folder, demonstrations = resolve("strong")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    plain = read_rows(demonstrations)[:100]
    marked = [row | {"prompt": f"<bos>{row['prompt']}"} for row in plain]
    scores = [demonstration_prior(model, tokenizer, some).mean_p for some in (plain, marked)]
    assert scores[0] == pytest.approx(scores[1], abs=0.03)


def test_readme_has_the_cards_table():
    assert card_table(CARD) in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["50m-strong", "50m-weak"])
def test_the_studies_of_the_large_ladder_are_understood(name):
    rung = name.partition("-")[2]
    args = parse(["confirm", "M", "D", "-C", str(ROOT / "studies" / f"{name}.yaml")])
    assert args.tasks == [f"ladder_{RUNGS[rung].skill}"]
    assert args.results == f"results/confirm/{name}"
    assert args.seeds == 3
    assert all(isinstance(rate, float) for rate in args.learning_rates)
