"""What more development documents save, on answers where it can be said beforehand."""

import numpy as np
import pytest

from harness.experiments.race.curves import RACERS
from harness.experiments.race.more_documents import regrets


def test_more_documents_mend_a_wrong_choice() -> None:
    development = np.zeros((len(RACERS), 4))
    test = np.zeros((len(RACERS), 40))
    development[0, 0] = 1  # one lucky answer of an arm that is right in a tenth
    test[0, :4] = 1
    test[2] = 1  # and an arm that is always right, but was never on the development documents
    fewer, more = regrets(development, test, range(len(RACERS)))
    assert fewer == pytest.approx(90, abs=4)
    assert more == 0


def test_where_one_arm_is_best_nothing_is_lost() -> None:
    right = np.zeros((len(RACERS), 10))
    right[3] = 1
    assert regrets(right, right, range(len(RACERS))) == (0, 0)
    assert regrets(right, right, [0, 1]) == (100, 100)
