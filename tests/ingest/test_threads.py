"""The threads of a run hand on what they are given: in order, no further ahead than allowed, to the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import threads
from ingest.threads import Ahead, Behind, aside


def one(_: object) -> int:
    return 1


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    until(lambda: set(threading.enumerate()) <= before)


class Stop(BaseException):
    """Like `KeyboardInterrupt`."""


# ── ahead ────────────────────────────────────────────────────────────────────────────────────────────────


@given(items=st.lists(st.integers(0, 9), max_size=30), limit=st.integers(1, 20))
def test_items_come_in_order_whatever_they_weigh(items: list[int], limit: int) -> None:
    with Ahead(items, weight=lambda item: item, limit=limit) as ahead:
        assert list(ahead) == items


def test_the_thread_rests_when_enough_is_waiting() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for i in range(100):
            made.append(i)
            yield i

    with Ahead(items(), weight=lambda _: 2, limit=6) as ahead:
        until(lambda: len(made) == 4)  # three wait, and one is in the hand
        time.sleep(0.05)
        assert len(made) == 4
        taken = iter(ahead)
        assert [next(taken), next(taken)] == [0, 1]
        until(lambda: len(made) == 6)
        time.sleep(0.05)
        assert len(made) == 6


@pytest.mark.parametrize("error", [ValueError("as it was"), Stop("as it was")])
def test_an_exception_comes_after_the_items_before_it(error: BaseException) -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise error

    taken: list[int] = []
    with pytest.raises(type(error), match="as it was"), Ahead(items(), weight=one, limit=100) as ahead:
        taken += ahead
    # A list that is extended by an iterable which raises has kept what came before.
    assert taken == [0, 1, 2]


def test_leaving_early_ends_a_thread_that_waits_for_room() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for i in range(100):
            made.append(i)
            yield i

    with pytest.raises(ValueError, match="enough"), Ahead(items(), weight=one, limit=1) as ahead:  # noqa: PT012  # what is within `with`
        assert next(iter(ahead)) == 0
        until(lambda: len(made) == 3)
        raise ValueError("enough")
    assert len(made) <= 4


def test_leaving_does_not_wait_long_for_a_thread_that_cannot_be_reached() -> None:
    released = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        released.wait(10)

    start = time.monotonic()
    with Ahead(items(), weight=one, limit=5) as ahead:
        assert next(iter(ahead)) == 0
    assert time.monotonic() - start < threads._PATIENCE_SECONDS + 1
    released.set()


# ── behind ───────────────────────────────────────────────────────────────────────────────────────────────


def test_calls_run_one_at_a_time_in_order_and_are_done_at_the_end() -> None:
    done: list[int] = []
    busy = threading.Lock()

    def call(i: int) -> None:
        assert busy.acquire(blocking=False)
        time.sleep(0.001)
        done.append(i)
        busy.release()

    with Behind() as behind:
        for i in range(20):
            behind.run(lambda i=i: call(i))  # type: ignore[misc]  # mypy infers no default of a lambda
            assert len(done) >= i  # the call before is done when the next one is taken
    assert done == list(range(20))


def test_one_call_runs_while_the_next_is_prepared() -> None:
    started, released = threading.Event(), threading.Event()

    def call() -> None:
        started.set()
        assert released.wait(10)

    with Behind() as behind:
        behind.run(call)
        assert started.wait(10)  # so `run` has not waited for it
        released.set()


@pytest.mark.parametrize("error", [ValueError("as it was"), Stop("as it was")])
def test_an_exception_is_raised_by_the_next_call_or_at_the_end(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error), match="as it was"), Behind() as behind:  # noqa: PT012  # what is within `with`
        behind.run(fail)
        behind.run(lambda: None)
        raise AssertionError("not reached")
    with pytest.raises(type(error), match="as it was"), Behind() as behind:
        behind.run(fail)


def test_after_an_error_what_is_under_way_is_waited_for() -> None:
    done: list[str] = []

    def call() -> None:
        time.sleep(2 * threads._PATIENCE_SECONDS)
        done.append("written")

    with pytest.raises(ValueError, match="elsewhere"), Behind() as behind:  # noqa: PT012  # what is within `with`
        behind.run(call)
        raise ValueError("elsewhere")
    assert done == ["written"]  # nobody closes the store under it


def test_after_an_interruption_it_is_not_waited_for_long() -> None:
    released = threading.Event()

    def wait() -> None:
        released.wait(10)

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Behind() as behind:  # noqa: PT012  # what is within `with`
        behind.run(wait)
        raise KeyboardInterrupt
    assert time.monotonic() - start < threads._PATIENCE_SECONDS + 1
    released.set()


# ── aside ────────────────────────────────────────────────────────────────────────────────────────────────


def test_items_are_made_in_another_thread_and_only_when_asked_for() -> None:
    made: list[int] = []
    makers: set[str] = set()

    def items() -> Iterator[int]:
        for i in range(5):
            makers.add(threading.current_thread().name)
            made.append(i)
            yield i

    for taken, item in enumerate(aside(items()), start=1):
        assert item == taken - 1
        time.sleep(0.005)
        assert len(made) == taken
    assert made == list(range(5))
    assert threading.current_thread().name not in makers


@pytest.mark.parametrize("error", [ValueError("as it was"), Stop("as it was")])
def test_an_exception_is_raised_where_the_item_was_asked_for(error: BaseException) -> None:
    def items() -> Iterator[int]:
        yield 0
        raise error

    taken: list[int] = []
    with pytest.raises(type(error), match="as it was"):
        taken += aside(items())
    assert taken == [0]


def test_closing_early_ends_the_thread() -> None:
    items = aside(iter(range(100)))
    assert next(items) == 0
    items.close()  # type: ignore[attr-defined]  # it is a generator


def test_an_empty_stream_ends_at_once() -> None:
    assert list(aside([])) == []
