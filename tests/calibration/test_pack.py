from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faq_pipeline.calibration.pack import pack

SIZES = st.lists(st.integers(1, 50), max_size=60)


@given(SIZES, st.integers(50, 120))
def test_every_sample_lies_in_one_row_and_no_row_is_too_long(sizes, length):
    rows = pack(sizes, length)
    assert sorted(index for row in rows for index in row) == list(range(len(sizes)))
    assert all(0 < sum(sizes[i] for i in row) <= length for row in rows)
    assert rows == pack(sizes, length)


@given(SIZES, st.integers(50, 120))
def test_no_two_rows_could_be_one(sizes, length):
    loads = sorted(sum(sizes[i] for i in row) for row in pack(sizes, length))
    assert len(loads) < 2 or loads[0] + loads[1] > length


def test_the_best_fit_is_taken():
    assert pack([60, 50, 50, 40], 100) == [[0, 3], [1, 2]]


def test_a_sample_longer_than_a_row_is_refused():
    with pytest.raises(ValueError, match="101 tokens"):
        pack([101], 100)
