"""A scan of one byte per number that proves which rows can be among the best of a query.

A search that reads float32 vectors is as fast as memory is. Here each row is read as 8-bit numbers, which
bound its score from both sides. The rows whose upper bound reaches the k-th highest lower bound are
candidates; one that is none cannot be among the best k. They are few, and the stored vectors decide.

The bounds. Let u be a unit vector, the same for all rows. A row x is split into a = x·u and y = x - a·u,
and y kept as s·c with 8-bit numbers c. A query q is split into b = q·u and p = q - b·u, and p kept as
t·g + t'·g' + …, each level finer than the one before. Then q·x = b·a + p·y, and by Cauchy and Schwarz p·y
is no further from s·t·(c·g) than |p|·|y - s·c| + |p - t·g|·|s·c|. The sum c·g is one of whole numbers, and
exact; the rounding errors of all the rest are within a slack. With all levels of the query the second
summand all but vanishes: those are multiplied with the rows that the first one leaves.

The vectors of a model often lie in a narrow cone. With u along their mean, what has to be approximated is
shorter, the error with it, and a number that is large in all rows does no harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple
from uuid import UUID

import numkong
import numpy as np
from numpy.typing import NDArray

from retriever.errors import ShapeError
from retriever.models.protocol import FloatArray
from retriever.models.threads import available_cores
from retriever.store.scan_batches import SharedPass
from retriever.store.scan_levels import Bytes, Doubles, QueryLevels, direction_of, encode_rows

_Rows = NDArray[np.intp]

_ROUNDING = 2.0**-24
"""Largest relative error of a float32 operation."""

_OPERATIONS = 32
"""More float32 operations than a bound takes; what it takes in float64 adds next to nothing."""

_MOST_CANDIDATES = 1000
"""Candidates beyond k that may be left to the stored vectors."""

_MOST_PASSED = 1 / 8
"""Share of the rows that the first level of a query may leave, and the other levels are multiplied with."""

_GATHERED = 4096
"""Rows of which copies are made at once."""

_AT_ONCE = 64
"""Queries that share a pass; more gain nothing."""

_CELLS = 2**20
"""Scores that are worked on at once: of fewer rows, the more queries there are."""

_GROUP = 64
"""Rows of which only the highest lower bound counts when the k-th highest is sought: fewer to sort."""

_PACKED_FROM = 8
"""From so many queries on, it is faster to multiply a row with all of them at once than with one by one."""

_PER_THREAD = 2**23
"""Bytes to read that are worth a thread."""


class ExactScan:
    """The rows of one named vector, in one byte per number.

    What it holds never changes, and it may be used from many threads: the arithmetic is outside the
    interpreter lock, and callers that wait for each other share one pass over the rows.

    Parameters
    ----------
    blocks
        Ids (UUIDs) and vectors of all rows, float32, shape (any, `size`), in blocks. The first one should be
        a sample of all: the direction that is set apart is its mean.
    rows
        How many there are in all.
    size
        Numbers per row.

    Raises
    ------
    ShapeError
        If there are more rows or fewer, or a block has another shape or type, or numbers that are not finite.

    Attributes
    ----------
    searches, unproven : int
        Queries so far, and those for which there were too many candidates.
    """

    def __init__(self, blocks: Iterable[tuple[Sequence[str], FloatArray]], *, rows: int, size: int) -> None:
        self._direction = np.zeros(size)
        self._codes = np.empty((rows, size), dtype=np.int8)
        self._ids = np.empty((rows, 16), dtype=np.uint8)
        facts = np.empty((rows, 4))
        count = 0
        for names, block in blocks:
            _check(block, shape=(len(names), size), room=rows - count)
            if count == 0 and len(names):
                self._direction = direction_of(block)
            place = slice(count, count + len(names))
            joined = b"".join(UUID(name).bytes for name in names)
            self._ids[place] = np.frombuffer(joined, dtype=np.uint8).reshape(-1, 16)
            self._codes[place], facts[place] = encode_rows(block, self._direction)
            count += len(names)
        if count != rows:
            raise ShapeError(f"scan: expected {rows} vectors, got {count}. Count them again.")
        self._steps, self._terms = _in_units_of_the_longest(facts)
        # That of the bounds, and that of whoever computes the scores of the candidates in float32.
        self._slack = (_OPERATIONS + size) * _ROUNDING
        self._threads = max(1, min(available_cores(), self._codes.nbytes // _PER_THREAD))
        self._passes = SharedPass(self._pass, at_once=_AT_ONCE)
        self.searches = 0
        self.unproven = 0

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._ids)

    @property
    def nbytes(self) -> int:
        """The memory that the rows take."""
        return sum(array.nbytes for array in (self._codes, self._ids, self._steps, self._terms))

    def candidates(self, queries: FloatArray, *, k: int) -> list[list[str] | None]:
        """Return, per query, the ids of all rows that may be among the `k` of highest dot product.

        Parameters
        ----------
        queries : float32, shape (any, size)
            Finite, of any length.
        k
            At least 1.

        Returns
        -------
        Per query at least `k` ids, unless there are fewer rows, in no order: all rows whose dot product is
        the k-th highest or higher, also when it is computed in float32 in whatever order, and some more.
        None where there would be very many, as among a thousand equal rows.

        Raises
        ------
        ShapeError
            If the queries have another shape, or numbers that are not finite.
        """
        # They are worked on together with those of other callers, which must not suffer for them.
        if queries.shape != (len(queries), self._codes.shape[1]) or not np.isfinite(queries).all():
            raise ShapeError(
                f"queries: expected finite numbers of shape (any, {self._codes.shape[1]}), got shape "
                f"{queries.shape} or NaN or infinity."
            )
        return self._passes([(query, k) for query in queries])

    def _pass(self, asked: Sequence[tuple[FloatArray, int]]) -> list[list[str] | None]:
        """Find the candidates of several callers."""
        if not len(self):
            return [[] for _ in asked]
        together = len(asked) if len(asked) >= _PACKED_FROM else 1
        found = [
            names
            for start in range(0, len(asked), together)
            for names in self._found(asked[start : start + together])
        ]
        self.searches += len(found)
        self.unproven += found.count(None)
        return found

    def _found(self, asked: Sequence[tuple[FloatArray, int]]) -> Iterator[list[str] | None]:
        """Yield the candidates of each query; None for too many."""
        queries = QueryLevels(np.array([query for query, _ in asked]), self._direction)
        depths = np.array([min(k, len(self)) for _, k in asked])
        for i, (rows, k) in enumerate(zip(self._passed(queries, depths), depths, strict=True)):
            narrowed = None if rows is None else self._narrowed(queries, i, rows, k)
            if narrowed is None or len(narrowed) > k + _MOST_CANDIDATES:
                yield None
            else:
                yield [str(UUID(bytes=self._ids[row].tobytes())) for row in narrowed]

    def _passed(self, queries: QueryLevels, depths: _Rows) -> Iterator[_Rows | None]:
        """Yield, per query, the rows that its first level leaves; None for too many."""
        columns = np.arange(len(depths))
        highest = np.full((depths.max(), len(depths)), -np.inf, dtype=np.float32)
        counts = np.zeros(len(depths), dtype=np.intp)
        most = max(_GATHERED, int(len(self) * _MOST_PASSED))
        found: list[_Found] = []
        per_block = max(1, _CELLS // len(depths))
        for start in range(0, len(self), per_block):
            lower, upper = self._bounds(slice(start, start + per_block), queries)
            highest = _highest(lower, highest)
            place = np.flatnonzero(upper >= highest[depths - 1, columns] - np.float32(2 * self._slack))
            row, column = np.divmod(place, len(depths))
            counts += np.bincount(column, minlength=len(depths))
            kept = counts[column] <= most
            place = place[kept]
            found.append(_Found(row[kept] + start, column[kept], lower.take(place), upper.take(place)))
        rows, asked, low, high = (np.concatenate(parts) for parts in zip(*found, strict=True))
        for i, depth in enumerate(depths):
            own = asked == i
            yield None if counts[i] > most else rows[own][self._reaching(low[own], high[own], depth)]

    def _bounds(self, rows: slice, queries: QueryLevels) -> tuple[FloatArray, FloatArray]:
        """Return what the scores lie between by the first level, but for the slack.

        Returns
        -------
        Two arrays, float32, shape (rows, queries)
        """
        along, error, length = self._terms[:, rows, None]
        steps = self._steps[rows, None]
        scores = np.empty((len(steps), len(queries.along)), dtype=np.float32)
        for part, products in self._products(rows, queries.levels[0]):
            np.multiply(products, steps[part], out=scores[part], casting="same_kind")
        scores *= queries.steps[0].astype(np.float32)
        scores += along * queries.along.astype(np.float32)
        half_width = error * queries.across.astype(np.float32)
        half_width += length * queries.errors[0].astype(np.float32)
        lower: FloatArray = scores - half_width
        scores += half_width
        return lower, scores

    def _products(self, rows: slice, queries: Bytes) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Yield the dot products of parts of these rows, each worked out in a thread of its own."""
        codes = self._codes[rows]
        edges = np.linspace(0, len(codes), self._threads + 1, dtype=int).tolist()
        parts = [slice(*ends) for ends in pairwise(edges)]
        if len(parts) == 1:
            return iter([(parts[0], _dots(codes, queries))])
        return zip(parts, _pool().map(lambda part: _dots(codes[part], queries), parts), strict=True)

    def _narrowed(self, queries: QueryLevels, i: int, rows: _Rows, k: int) -> _Rows:
        """Return those of these rows that all levels of one query leave."""
        levels = np.ascontiguousarray(queries.levels[:, i])
        sums = [
            _dots(self._codes[rows[start : start + _GATHERED]], levels) @ queries.steps[:, i]
            for start in range(0, len(rows), _GATHERED)
        ]
        along, error, length = self._terms[:, rows]
        scores = np.concatenate(sums) * self._steps[rows] + along * queries.along[i]
        half_width = error * queries.across[i] + length * queries.errors[-1, i]
        return rows[self._reaching(scores - half_width, scores + half_width, k)]

    def _reaching(self, lower: NDArray[Any], upper: NDArray[Any], k: int) -> _Rows:
        """Return where the upper bound reaches the k-th highest lower one, with the slack of both."""
        place = len(lower) - k
        return np.flatnonzero(upper >= np.partition(lower, place)[place] - 2 * self._slack)


class _Found(NamedTuple):
    """Rows that queries may want, and what their scores lie between."""

    row: _Rows
    query: _Rows
    lower: FloatArray
    upper: FloatArray


def _in_units_of_the_longest(facts: Doubles) -> tuple[FloatArray, FloatArray]:
    """Return steps, and the other facts in rows, float32, in units in which no row is longer than about 1."""
    longest = np.linalg.norm(facts[:, 1:], axis=1).max(initial=0.0)
    scaled = np.ascontiguousarray(facts.T / (longest or 1.0), dtype=np.float32)
    return scaled[0], scaled[1:]


def _highest(values: FloatArray, before: FloatArray) -> FloatArray:
    """Return the highest values per column, descending, of `before` and of groups of rows of `values`.

    A group counts once, so the k-th of them is at most the k-th highest value: as a threshold it lets a few
    more pass. Groups are single rows where there are few.
    """
    depth, columns = before.shape
    group = int(np.clip(len(values) // (4 * depth), 1, _GROUP))
    whole = len(values) - len(values) % group
    grouped = values[:whole].reshape(-1, group, columns).max(axis=1)
    merged = np.concatenate([before, grouped, values[whole:]])
    place = len(merged) - depth
    return np.sort(np.partition(merged, place, axis=0)[place:], axis=0)[::-1]


def _dots(rows: Bytes, queries: Bytes) -> NDArray[Any]:
    """Return the dot products, exact whole numbers, shape (rows, queries)."""
    if len(queries) < _PACKED_FROM:
        return np.asarray(numkong.cdist(rows, queries, "dot"))
    return np.asarray(numkong.dots_packed(rows, numkong.dots_pack(queries)))


@cache
def _pool() -> ThreadPoolExecutor:
    """Return the threads of all scans; one alone does not read as fast as memory is."""
    return ThreadPoolExecutor(available_cores(), thread_name_prefix="scan")


def _check(block: FloatArray, *, shape: tuple[int, int], room: int) -> None:
    """Refuse a block that is not what was announced."""
    if block.shape != shape or block.dtype != np.float32:
        raise ShapeError(
            f"scan: expected float32 vectors of shape {shape}, got {block.dtype} of shape {block.shape}."
        )
    if len(block) > room:
        raise ShapeError(f"scan: expected at most {room} more vectors, got {len(block)}. Count them again.")
    if not np.isfinite(block).all():
        raise ShapeError("scan: expected finite numbers, got NaN or infinity. Write the vectors again.")
