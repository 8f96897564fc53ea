from itertools import product

import pytest
from sentinel.v1 import submission_pb2

from services.record.model import State, Verdict, may_follow, state_and_verdict, status_of

ORDER = [State.QUEUED, State.COMPILING, State.RUNNING]
TERMINAL = [State.FINISHED, State.CANCELLED, State.FAILED]


def test_states_move_forward_only_and_terminal_ones_not_at_all() -> None:
    legal = {(a, b) for a, b in product(State, State) if may_follow(a, b)}
    forward = {(a, b) for i, a in enumerate(ORDER) for b in ORDER[i + 1 :]}
    assert legal == forward | set(product(ORDER, TERMINAL))


@pytest.mark.parametrize("status", submission_pb2.Status.values()[1:])
def test_a_status_word_comes_from_exactly_one_state_and_verdict(status: int) -> None:
    state, verdict = state_and_verdict(submission_pb2.Status.ValueType(status))
    assert status_of(state, verdict) == status
    assert (verdict is not None) == (state is State.FINISHED)


def test_our_failure_is_never_a_verdict() -> None:
    assert status_of(State.FAILED, None) == submission_pb2.INTERNAL_ERROR
    assert "INTERNAL_ERROR" not in Verdict.__members__
