"""Numbers and names as the report writes them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from string import ascii_uppercase

from markupsafe import Markup

from analysis.resampling import Interval

MINUS = "\N{MINUS SIGN}"
NOTHING = "\N{EN DASH}"
"""Stands where a number is not defined."""

_SHOWN_P = 0.001
_BREAKS = re.compile(r"[\t\n\v\f\r\x85]+")
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


class Letters:
    """One letter per model, the same on the whole page: A, B, … in the order they were given."""

    def __init__(self, keys: Iterable[str]) -> None:
        known = list(keys)
        plenty = len(known) > len(ascii_uppercase)
        self._by_key = {key: f"M{i + 1}" if plenty else ascii_uppercase[i] for i, key in enumerate(known)}

    def letter(self, key: str) -> str:
        """Return the letter of a model."""
        return self._by_key[key]

    def joined(self, models: Iterable[str]) -> str:
        """Return the letters of these models: ``A‖B``."""
        return "‖".join(self._by_key[key] for key in models)

    def named(self, models: Iterable[str]) -> Markup:
        """Return letter and key of each of these models, one below the other."""
        return Markup("<br/>").join(
            Markup("<b>{}</b> {}").format(self._by_key[key], isolated(key)) for key in models
        )


def clean(text: str) -> str:
    """Replace what must not stand in a page: controls, halves of surrogate pairs, switches of direction."""
    return _UNFIT.sub("\ufffd", _BREAKS.sub(" ", text))


def isolated(text: str) -> str | Markup:
    """Return a text that others wrote, so that its direction stays its own; most have but one."""
    return clean(text) if text.isascii() else Markup("<bdi>{}</bdi>").format(clean(text))


def number(value: float, digits: int = 3) -> str:
    """Return a number with a real minus sign, not a hyphen."""
    return f"{value:.{digits}f}".replace("-", MINUS)


def signed(value: float, digits: int = 3) -> str:
    """Return a number with its sign: ``+0.012``."""
    return f"{value:+.{digits}f}".replace("-", MINUS)


def p_value(value: float) -> str:
    """Return a p-value, ``<0.001`` below what is worth distinguishing."""
    return f"<{_SHOWN_P}" if value < _SHOWN_P else f"{value:.3f}"


def percent(share: float) -> str:
    """Return a share in percent: ``95 %``."""
    return f"{100 * share:.4g} %"


def bounded(interval: Interval, *, sign: bool = False) -> Markup:
    """Return an estimate with its interval in small."""
    form = signed if sign else number
    return Markup("{} <small>{} to {}</small>").format(
        form(interval.estimate), form(interval.low), form(interval.high)
    )


def maybe(value: float | None) -> str:
    """Return a number, or a dash where it is not defined."""
    return NOTHING if value is None or math.isnan(value) else number(value)
