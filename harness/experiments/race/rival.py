"""The race against successive halving as others run it: ASHA of syne-tune, replayed on the same cells.

Arms come one after another in random order, since there is one machine; an arm goes on to the next share of
its steps while it is in the better half of those that were scored there before (arXiv:1810.05934). Needs
syne-tune, of the extra `bench`.
"""

from __future__ import annotations

import logging
import random
from datetime import datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from harness.experiments.race.curves import RACERS, STAGES, CurveCell, curve_cells
from harness.experiments.race.race_policies import LOOK, STEPS, Outcome, score, spent
from harness.experiments.replay.ship import HEATS, records_of

ORDERS = 10
"""Random orders of the arms, over which costs and regrets are averaged."""
METRIC, SHARE = "score", "eighths"


def rivals(results: Path) -> dict[str, Any]:
    """What ASHA comes to for each way of decoding; `results` holds the ledgers of every study."""
    logging.getLogger("syne_tune").setLevel(logging.ERROR)  # it warns of its own constructor
    found: dict[str, Any] = {
        "records": records_of(results),
        "of": f"ASHA of syne-tune {version('syne-tune')}",
        "orders": ORDERS,
    }
    for how, heat in HEATS.items():
        cells = curve_cells(results, heat)
        tries = [spent(cells, partial(asha, seed=seed)) for seed in range(ORDERS)]
        regrets = np.mean([one.regrets for one in tries], axis=0)
        found[how] = {
            "cells": len(cells),
            "cost": round(float(np.mean([one.cost for one in tries])), 2),
            "regret": round(float(regrets.mean()), 2),
            "standard_error": round(float(regrets.std(ddof=1) / np.sqrt(len(cells))), 2),
            "over_5": round(float(np.mean([one.over for one in tries])), 3),
            "worst": round(max(max(one.regrets) for one in tries), 1),
        }
    return found


def asha(cell: CurveCell, seed: int) -> Outcome:
    """All arms in a random order, each as far as ASHA lets it; the best of those at their ends is kept."""
    from syne_tune.backend.trial_status import Trial
    from syne_tune.config_space import choice
    from syne_tune.optimizer.scheduler import SchedulerDecision
    from syne_tune.optimizer.schedulers.asha import AsynchronousSuccessiveHalving

    order = random.Random(seed).sample(range(len(RACERS)), len(RACERS))
    scheduler = AsynchronousSuccessiveHalving(
        {"arm": choice(list(range(len(RACERS))))},
        metric=METRIC,
        do_minimize=False,
        time_attr=SHARE,
        max_t=round(1 / STAGES[0]),
        grace_period=1,
        reduction_factor=2,
        random_seed=seed,
        searcher_kwargs={"points_to_evaluate": [{"arm": arm} for arm in order]},
    )
    cost, ended = 0.0, []
    for number in range(len(RACERS)):
        arm = scheduler.suggest().config["arm"]
        trial = Trial(trial_id=number, config={"arm": arm}, creation_time=datetime.now())
        scheduler.on_trial_add(trial)
        at = 0.0
        for stage, share in enumerate(STAGES):
            cost += STEPS * (share - at) + LOOK
            at = share
            told = {METRIC: score(cell, arm, stage), SHARE: round(share / STAGES[0])}
            decision = scheduler.on_trial_result(trial, told)
            if share == 1:
                ended.append(arm)
            if decision != SchedulerDecision.CONTINUE:
                break
    return Outcome(kept=max(ended, key=lambda arm: score(cell, arm, len(STAGES) - 1)), cost=cost)
