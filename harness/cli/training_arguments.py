"""Arguments of the commands that train or generate: train, distill, rewrite, confirm."""

from __future__ import annotations

from typing import Any

from harness.cli.flags import (
    add_json,
    add_margin,
    add_model_and_dataset,
    add_prompts,
    add_score,
    add_weights,
    number,
)


def add_train(commands: Any) -> None:
    """`advisor train`."""
    parser = commands.add_parser(
        "train",
        help="fine-tune with any objective of the table",
        description="Fine-tune MODEL on DATASET. Beside the options below, every field of TRL's SFTConfig "
        "and the adapter fields of its ModelConfig (--use_peft, --lora_r, ...) are accepted as flags "
        "and in --config. "
        "For several processes: torchrun --nproc_per_node 2 -m advisor train ...",
    )
    add_model_and_dataset(parser)
    add_weights(parser)
    parser.add_argument(
        "--objective", default="nll", help="see `advisor ls objectives` (default: nll)"
    )
    parser.add_argument("--output_dir", required=True, help="where checkpoints and the model go")
    parser.add_argument(
        "--eval_split",
        help="split of DATASET to evaluate on (default: after every epoch, see --eval_strategy)",
    )
    parser.add_argument(
        "--resample", action="store_true",
        help="cadft: sample the targets of the least compatible examples anew from the model while it trains",
    )  # fmt: skip
    parser.add_argument(
        "--resample_share", type=number(float, 0.0, 1.0),
        help="of the examples, chosen at each of three times (default: 0.005, as published)",
    )  # fmt: skip
    parser.add_argument(
        "--resample_verify", action="store_true",
        help="take only sampled answers that end in the demonstration's answer",
    )  # fmt: skip
    parser.add_argument(
        "--answer_regex", help="finds that answer, in one group (default: a known form)"
    )


def add_distill(commands: Any) -> None:
    """`advisor distill`."""
    parser = commands.add_parser(
        "distill",
        help="train a model on its own answers towards a teacher's distribution (OPD, FiRe-OPD)",
        description="Let MODEL, the student, answer the prompts of DATASET and move it towards the teacher "
        "at every token. The targets of DATASET are not read. Beside the options below, every field of TRL's "
        "DistillationConfig and the adapter fields of its ModelConfig are accepted as flags and in --config.",
    )
    add_model_and_dataset(parser)
    add_weights(parser)
    parser.add_argument("--output_dir", required=True, help="where checkpoints and the model go")
    parser.add_argument(
        "--eval_split",
        help="split of DATASET to evaluate on: the divergence from the teacher on the student's answers, "
        "in every method without filter and weights (default: after every epoch, see --eval_strategy)",
    )
    method = parser.add_argument_group("method")
    method.add_argument(
        "--teacher", action="extend", nargs="+", required=True, metavar="T",
        help="a model with the student's vocabulary; several, each as VALUE=MODEL, with --route",
    )  # fmt: skip
    method.add_argument("--route", metavar="FIELD", help="column with the VALUE of a row's teacher")
    method.add_argument(
        "--method", choices=["opd", "fire"], default="opd",
        help="fire leaves out rollouts that the teacher finds improbable and weighs tokens (default: opd)",
    )  # fmt: skip
    method.add_argument(
        "--form", choices=["full", "sampled"], default="full",
        help="reverse KL over the vocabulary, or of the drawn token as published (default: full)",
    )  # fmt: skip
    fire = parser.add_argument_group("fire")
    share = number(float, 0.0, 100.0)
    fire.add_argument(
        "--fire_alpha",
        type=number(float, 0.0),
        help="weight of tokens that the teacher is sure of (default: 1)",
    )
    fire.add_argument(
        "--fire_beta",
        type=number(float, 0.0),
        help="weight of tokens that the student is unsure of (default: 1)",
    )
    fire.add_argument(
        "--fire_percentile", type=share, help="percent of rollouts left out (default: 20)"
    )
    fire.add_argument(
        "--fire_filter_scope", choices=["step", "micro_batch"],
        help="rollouts ranked together; micro_batch as in the released code (default: step)",
    )  # fmt: skip
    fire.add_argument(
        "--fire_weight_scope", choices=["trajectory", "step", "micro_batch"],
        help="over what weights are normalised (default: trajectory)",
    )  # fmt: skip
    fire.add_argument(
        "--fire_filter_per_teacher", action="store_true", default=None,
        help="rank the rollouts of each teacher by themselves",
    )  # fmt: skip


def add_rewrite(commands: Any) -> None:
    """`advisor rewrite`."""
    parser = commands.add_parser(
        "rewrite",
        help="rewrite a dataset's answers in the model's own words, verified",
        description="Write DATASET anew with answers that MODEL itself gives: unaided where they are right, "
        "else by hinted decoding with the reference answer at hand. Only verified answers are kept. "
        "Started again, it goes on where it stopped.",
    )
    add_model_and_dataset(parser)
    add_weights(parser)
    use = parser.add_argument_group("rewriting")
    use.add_argument("--method", choices=["hinted"], default="hinted", help="default: hinted")
    use.add_argument(
        "--hint", metavar="FILE", help="prompt with {question} and {answer} (default: built in)"
    )
    use.add_argument(
        "--marker", default="# CoT",
        help="ends the analysis that the hint asks for, or none where it asks for none (default: # CoT)",
    )  # fmt: skip
    use.add_argument("--answer_regex", help="finds the final answer, in one group")
    use.add_argument(
        "--splitter",
        help="text that begins the final answer, needed with an --answer_regex of your own",
    )
    use.add_argument(
        "--beta", type=number(float, 0.0), default=3.0,
        help="weight of the model's own distribution per unit of normalised entropy (default: 3)",
    )  # fmt: skip
    use.add_argument(
        "--temperature",
        type=number(float, 0.0, 10.0),
        default=0.3,
        help="of sampling (default: 0.3)",
    )
    use.add_argument(
        "--top_p", type=number(float, 0.0, 1.0), default=0.95, help="of sampling (default: 0.95)"
    )
    use.add_argument(
        "--tries", type=number(int, 0), default=1,
        help="unaided answers to a prompt before it is hinted (default: 1)",
    )  # fmt: skip
    use.add_argument(
        "--keep_failed", action="store_true",
        help="keep the demonstration where no answer is verified (default: leave the row out)",
    )  # fmt: skip
    use.add_argument(
        "--max_new_tokens",
        type=number(int, 1),
        help="of an answer and of an analysis (default: what --max_length leaves)",
    )
    use.add_argument(
        "--batch_size", type=number(int, 1), default=16, help="rows at a time (default: 16)"
    )
    use.add_argument("--seed", type=number(int, 0), default=0, help="of sampling (default: 0)")
    output = add_json(parser)
    output.add_argument(
        "--output_path", "-o", metavar="FILE", required=True,
        help="the new dataset, a .jsonl file; a .provenance.jsonl is written beside it",
    )  # fmt: skip


def add_confirm(commands: Any) -> None:
    """`advisor confirm`."""
    parser = commands.add_parser(
        "confirm",
        help="run short fine-tunes of the arms and say, with statistics, who won",
        description="Fine-tune MODEL on DATASET with each objective, score the answers, and say which to "
        "use and whether to fine-tune at all. Further settings of training are given as in `advisor train`. "
        "Started again, it goes on where it stopped.",
    )
    add_model_and_dataset(parser)
    add_weights(parser)
    arms = parser.add_argument_group("arms")
    arms.add_argument(
        "--objectives",
        nargs="+",
        help="default: nll, neg_p, threshold, cadft, the recommended one, and dpo where there are pairs "
        "(chosen, rejected); NAME@own trains on the model's own verified answers, for example dft@own; "
        "cadft@resampled(SHARE) samples targets anew in training; opd and fire learn from --teacher",
    )
    arms.add_argument(
        "--teacher", action="extend", nargs="+", metavar="T",
        help="of the arms opd and fire; several, each as VALUE=MODEL, with --route",
    )  # fmt: skip
    arms.add_argument("--route", metavar="FIELD", help="column with the VALUE of a row's teacher")
    arms.add_argument(
        "--learning_rates",
        nargs="+",
        type=number(float, 0.0),
        help="the same grid for every objective",
    )
    arms.add_argument("--seeds", type=number(int, 1), default=3, help="of each arm (default: 3)")
    arms.add_argument("--full", action="store_true", help="run every arm on every seed: no racing")
    arms.add_argument(
        "--budget",
        help="start no more runs after this long, for example 30m, once the untouched model and the grid "
        "of learning rates are done: they are always finished",
    )
    arms.add_argument(
        "--executor",
        choices=["local", "ray"],
        default="local",
        help="where runs are executed: here, or in parallel on Ray (default: local)",
    )
    scoring = parser.add_argument_group("scoring")
    scoring.add_argument(
        "--tasks", "-t", nargs="+", help="lm-eval tasks or YAML files (default: held-out rows)"
    )
    scoring.add_argument("--include_path", help="folder with lm-eval tasks of your own")
    scoring.add_argument(
        "--answer_regex", help="finds the final answer in a held-out row, in one group"
    )
    scoring.add_argument(
        "--temperature", type=number(float, 0.0, 10.0),
        help="how the model will be decoded; decides (default: the model's generation config)",
    )  # fmt: skip
    scoring.add_argument(
        "--repeats", type=number(int, 1), default=2,
        help="answers to a document where sampled (default: 2)",
    )  # fmt: skip
    scoring.add_argument("--limit", "-L", type=number(int, 2), help="documents of each task")
    add_score(scoring)
    add_prompts(scoring)
    add_margin(scoring)
    output = add_json(parser)
    output.add_argument(
        "--results", default="results", help="folder of the records (default: results)"
    )
