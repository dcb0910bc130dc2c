import numpy as np
from test_heuristics import random_sequences
from test_recovery import Model

from rclrec_mini.evaluation.ranking import batches


def test_users_that_are_given_go_with_their_rows():
    user = np.array([7, 3, 5, 1, 9])
    found = batches(Model(), random_sequences(), np.arange(11, 16), 2, user=user)
    assert [batch.user.tolist() for batch in found] == [[7, 3], [5, 1], [9]]
