"""What the page on better targets asks and finds; its numbers are computed (`better_targets.py`)."""

from better_targets import Question

INTRODUCTION = """\
# Better targets

Written by `docs/generate.py`: every number in a table is computed from the records in `results/`.

The objectives of [objectives.md](objectives.md) change the weight of a target; three methods change the
target itself.

- CADFT's second stage (arXiv:2606.11206) lets the model rewrite, while it trains, the examples that stay
  improbable: `advisor train --objective cadft --rewrite`.
- Hinted decoding (DDT, arXiv:2602.12222) rewrites a dataset beforehand in the model's own words, with the
  reference answer at hand: `advisor rewrite`.
- On-policy distillation trains on the model's own answers, each token judged by a teacher. FiRe-OPD
  (arXiv:2606.02684) leaves out answers that the teacher finds improbable and weighs the tokens of the
  others: `advisor distill`.

All were run on the [ladder](../harness/ladder/README.md): models of 0.8M parameters that solve made-up
problems letter by letter, three seeds or more, 300 test documents a task. At the papers' scale, of billions
of parameters, nothing was measured. Each arm has the best learning rate of the grid on development
documents. Differences are in points, with 95 % intervals over documents and seeds; the verdicts against
NLL are Holm-adjusted, the pairs are not.
"""

PLAIN, HINTED, KEPT = "`ladder:strong`", "on `hinted.jsonl`", "on `kept.jsonl`"
CONTROL = (("cadft(1)", "cadft_mean(1)"), ("cadft_mean(1)", "neg_p"), ("cadft(1)", "neg_p"))

QUESTIONS = (
    Question(
        title="Does CADFT's rewriting help?",
        folder="confirm/rewriting",
        asked="""\
A known skill, 40 % of whose demonstrations are noisy, three epochs. The paper's schedule, from step 3000
on, never comes due in its own protocol of 390 steps; here the same times are shares of the training.
""",
        pairs=(("cadft(1)@rewritten", "cadft(1)"), ("cadft(1)@rewritten(0.1)", "cadft(1)")),
        found="""\
No difference. It came due three times; at the published 0.5 % of the examples at a time, half of them
taken, it replaced 4 to 6 of 600. Twenty times as many (`cadft(1)@rewritten(0.1)`) change nothing either:
CADFT's weights have silenced those examples already, it seems, and the model's own answer teaches it
little.
""",
    ),
    Question(
        title="Is CADFT more than a smaller update?",
        folder="confirm/mean-weight",
        asked="""\
CADFT takes DFT's weight p and lowers it for examples that do not fit the model, so its updates are
smaller too. The control `cadft_mean` is DFT times one number a step, chosen so that the step's total
weight is CADFT's. One learning rate for each optimiser, eight seeds.
""",
        pairs=CONTROL,
        found="""\
Under Adam, which divides by the size of recent gradients, the smaller update does nothing, and CADFT's
gain over DFT comes from which examples lose weight. Under plain SGD the smaller update may be half of the
gain. All of it is for sampled answers: greedily, under Adam, there is no difference.
""",
    ),
    Question(
        title="Are answers in the model's own words better demonstrations?",
        folder="confirm/hinted",
        asked="""\
The same noisy demonstrations, and `hinted.jsonl`: for each prompt the model's own answer where it is the
demonstration's, else one written by hinted decoding, else none. Of 600 rows 209 are its own, 128 hinted,
263 left out; the answers it is checked against are the noisy ones. What is left out is a filter in
itself, so `kept.jsonl` has the unchanged demonstrations of the prompts that were kept. 75 steps on each.
""",
        pairs=(("idft(1, 0.1, 2)", "nll"),),
        across=(
            (HINTED, KEPT, "nll"),
            (KEPT, PLAIN, "nll"),
            (HINTED, KEPT, "idft(1, 0.1, 2)"),
            (KEPT, PLAIN, "idft(1, 0.1, 2)"),
            (HINTED, PLAIN, "idft(1, 0.1, 2)"),
        ),
        before="""\
advisor rewrite ladder:strong --hint hint.txt --marker none --temperature 1 --top_p 1 -o hinted.jsonl
# kept.jsonl: the demonstrations of ladder:strong whose prompts are in hinted.jsonl
""",
        found="""\
Yes for NLL, sampled, and most of that is the words, not the filter. IDFT passes over what the model would
not say, so it has nearly all of the gain on the demonstrations as they came; what the rewriting adds to it
is not resolved, though the paper's pair, IDFT on rewritten answers, scores highest. Greedily nothing is
worth more than a point or two.
""",
    ),
    Question(
        title="What is a teacher's judgement worth?",
        folder="confirm/distillation",
        asked="""\
The strong rung teaches the two weaker ones its skill: 76 steps of 32 prompts, answered by the student.
NLL on the demonstrations of the same prompts, 40 % of them noisy, stands beside it. `opd(sampled)` is the
published loss, of the drawn token alone; `fire(percentile=0)` only weighs, `fire(alpha=0, beta=0)` only
filters.
""",
        pairs=(
            ("opd", "nll"),
            ("fire", "opd"),
            ("fire(percentile=0)", "opd"),
            ("fire(alpha=0, beta=0)", "opd"),
            ("opd(sampled)", "opd"),
            ("fire(sampled)", "opd(sampled)"),
        ),
        found="""\
A good deal, where the student is right now and then: the middle rung, which never sees an answer but its
own, gains more than 20 points. Noisy demonstrations teach it at least as much for sampled answers and far
more for greedy ones, since they say what it does not think of. The weak rung, nearly never right by
itself, has little to be judged on. FiRe's gain does not appear, neither of the whole nor of its two
parts, and the loss of the drawn token alone learns much less in as many steps than the whole distribution
does.
""",
    ),
    Question(
        title="Two teachers of different skills",
        folder="confirm/two-teachers",
        asked="""\
The strong rung, fine-tuned once on additions and once on linear equations, teaches the middle one both,
each prompt with the teacher of its skill. NLL has clean demonstrations of the same prompts.
`fire(per_teacher)` ranks the answers of each teacher by themselves.
""",
        pairs=(
            ("opd", "nll"),
            ("fire", "opd"),
            ("fire(per_teacher)", "fire"),
            ("opd(sampled)", "opd"),
            ("fire(sampled)", "opd(sampled)"),
        ),
        before="""\
for skill in add lin; do
  python -m harness.ladder draw $skill --rows 1200 --seed 1 -o $skill.jsonl
  advisor train ladder:strong $skill.jsonl --output_dir teachers/$skill --learning_rate 1e-3 \\
    --per_device_train_batch_size 16 --num_train_epochs 4 --lr_scheduler_type cosine --warmup_steps 0.1 \\
    --save_strategy no --report_to none
done
python -m harness.ladder draw add lin --rows 300 --seed 2 -o both.jsonl
""",
        found="""\
Two good teachers do for the student what clean demonstrations do, without any. FiRe gains nothing on it:
with either loss it scores lower, by a resolved difference in greedy answers to the whole loss alone, and
ranking each teacher's answers apart does not mend that. The loss of the drawn token alone is far behind
after as many steps.
""",
    ),
)
