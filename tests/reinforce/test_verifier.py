"""What answers to training prompts are worth, and what they are held against."""

from advisor.data.dataset import load_dataset
from harness.evaluate.user_scorer import read_scorer
from harness.ladder.letters import build_tokenizer
from harness.reinforce.verifier import Question, Verifier, questions_of

ROWS = [
    {"prompt": "1+2|", "completion": "1+2=3#3"},
    {"prompt": "2+2|", "completion": "2+2=4#4"},
]


def test_an_answer_is_worth_1_where_its_final_answer_is_the_demonstrations() -> None:
    questions = questions_of(load_dataset(ROWS, build_tokenizer()))
    verify = Verifier(pattern="#([^#$]*)")
    assert verify(["#3", "3", "5#3", "#4"], [questions[0]] * 4) == [1.0, 0.0, 1.0, 0.0]


def test_an_answer_without_a_final_one_is_no_match_of_a_reference_without_one() -> None:
    question = Question(prompt=[1], text="a", reference="no mark")
    assert Verifier(pattern="#([^#$]*)")(["none either"], [question]) == [0.0]


def test_a_question_is_the_prompt_as_it_is_trained_on_and_its_completion() -> None:
    tokenizer = build_tokenizer()
    first, _ = questions_of(load_dataset(ROWS, tokenizer))
    assert first.prompt == tokenizer("1+2|")["input_ids"]
    assert (first.text, first.reference) == ("1+2|", "1+2=3#3")


def test_a_scorer_gets_answers_references_and_prompts() -> None:
    def length(answers: list[str], references: list[str], prompts: list[str]) -> list[float]:
        assert (references, prompts) == (["1+2=3#3"] * 2, ["1+2|"] * 2)
        return [len(answer) / 10 for answer in answers]

    questions = questions_of(load_dataset(ROWS, build_tokenizer()))
    verify = Verifier(scorer=read_scorer(length))
    assert verify(["abc", ""], [questions[0]] * 2) == [0.3, 0.0]
