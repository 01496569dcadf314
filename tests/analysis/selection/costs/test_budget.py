"""A budget is read as it is written, and admits what costs no more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analysis.selection.costs.budget import Budget
from analysis.selection.record import Cost
from retriever.errors import InputError

COST = Cost(seconds_per_1000_chunks=20.0, bytes_per_chunk=3072.0, milliseconds_per_query=35.5)


def test_limits_are_read_in_any_order() -> None:
    assert Budget.parse("ms<=40, bytes <= 4e3 ,seconds<=20") == Budget(
        seconds_per_1000_chunks=20, bytes_per_chunk=4000, milliseconds_per_query=40
    )
    assert Budget.parse("bytes<=.5") == Budget(bytes_per_chunk=0.5)


@pytest.mark.parametrize(
    ("text", "is_admitted"),
    [
        ("ms<=40,bytes<=4000,seconds<=20", True),  # a limit itself is within
        ("ms<=35.4", False),
        ("bytes<=3071", False),
        ("seconds<=19,ms<=40", False),
    ],
)
def test_no_limit_may_be_exceeded(text: str, *, is_admitted: bool) -> None:
    assert Budget.parse(text).admits(COST) is is_admitted


def test_without_limits_everything_is_admitted() -> None:
    assert Budget().admits(
        Cost(seconds_per_1000_chunks=None, bytes_per_chunk=None, milliseconds_per_query=None)
    )


def test_a_limit_for_what_was_not_measured_is_refused_and_others_are_not() -> None:
    unknown = replace(COST, milliseconds_per_query=None)
    assert Budget.parse("bytes<=4000").admits(unknown)
    with pytest.raises(InputError, match="expected milliseconds per query of every candidate"):
        Budget.parse("ms<=40").admits(unknown)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected limits as in 'ms<=40,bytes<=4000,seconds<=20'"),
        ("ms<40", "got 'ms<40' in 'ms<40'"),
        ("ms<=40,", "got '' in 'ms<=40,'"),
        ("dollars<=1", "got 'dollars<=1'"),
        ("ms<=4.4.4", "got 'ms<=4.4.4'"),
        ("ms<=40,ms<=50", "expected ms once, got it twice"),
        ("ms<=0", "expected a number of milliseconds per query above 0, got 0"),
        ("ms<=-3", "above 0, got -3"),
        ("bytes<=1e999", "above 0, got inf"),
    ],
)
def test_what_is_no_budget_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Budget.parse(text)
