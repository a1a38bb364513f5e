"""The likeliest chain of readings down a page: the same as every chain tried, and found in time."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.chains import Ascending, Candidate, Order, Serial, likeliest_chain

ORDERS: tuple[Order, ...] = (
    Serial(1, True),
    Serial(1, False),
    Serial(-2, True),
    Ascending("day"),
    Ascending("number"),
)
READING = st.tuples(st.integers(1, 12), st.sampled_from([0.9, 0.3, 0.05]))


def score(order: Order, chain: dict[int, tuple[int, float]], left_out: Sequence[float]) -> float | None:
    """The logarithm of a chain's chance; None where it goes on against the order."""
    total = sum(left_out[row] for row in range(len(left_out)) if row not in chain)
    total += sum(log(chance) for _, chance in chain.values())
    for before, after in itertools.pairwise(chain):
        step = order.step(after - before, chain[before][0], chain[after][0])
        if step is None:
            return None
        total += step
    return total


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(ORDERS),
    st.lists(st.lists(READING, max_size=2), max_size=6),
    st.lists(st.sampled_from([log(0.01), log(1e-12)]), min_size=6, max_size=6),
)
def test_no_chain_is_likelier(order: Order, rows: list[list[tuple[int, float]]], prices: list[float]) -> None:
    left_out = prices[: len(rows)]
    tried = []
    for some in itertools.product(*([None, *row] for row in rows)):
        chain = {row: one for row, one in enumerate(some) if one is not None}
        if chain and (known := score(order, chain, left_out)) is not None:
            tried.append(known)
    found = likeliest_chain(
        order, [[Candidate(value, chance, None) for value, chance in row] for row in rows], left_out
    )
    if not tried:
        assert found == {}
        return
    known = score(order, {row: (found[row].value, found[row].chance) for row in sorted(found)}, left_out)
    assert known == pytest.approx(max(tried))


@dataclass(frozen=True, slots=True)
class Counted(Serial):
    """A serial that says how often it was asked."""

    asked: list[int] = field(default_factory=list)

    def step(self, n_rows: int, before: int, after: int) -> float | None:
        self.asked.append(after)
        return super(Counted, self).step(n_rows, before, after)


def test_a_page_of_twice_as_many_rows_takes_twice_as_long() -> None:
    asked = []
    for n in (400, 800):
        order = Counted(1, True)
        junk = [Candidate(1, 0.01, None), Candidate(2, 0.01, None)]  # that nothing leads to
        rows = [[Candidate(10 + row, 0.9, None), *junk] for row in range(n)]
        chain = likeliest_chain(order, rows, [log(0.01)] * n)
        assert [chain[row].value for row in sorted(chain)] == list(range(10, 10 + n))
        asked.append(len(order.asked))
    assert asked[1] < 2.5 * asked[0]
