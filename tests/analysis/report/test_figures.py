"""Numbers and names as they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from analysis.report.figures import Letters, bounded, clean, isolated, maybe, number, p_value, signed
from analysis.resampling import Interval


def test_numbers_have_a_real_minus_and_three_digits() -> None:
    assert number(-0.1234) == "−0.123"
    assert signed(0.0126) == "+0.013"
    assert signed(-0.0126) == "−0.013"
    assert bounded(Interval(estimate=-0.1, low=-0.25, high=0.05, confidence=0.95), sign=True) == Markup(
        "−0.100 <small>−0.250 to +0.050</small>"
    )


@pytest.mark.parametrize(("value", "written"), [(0.0004, "<0.001"), (0.001, "0.001"), (1.0, "1.000")])
def test_small_p_values_are_not_told_apart(value: float, written: str) -> None:
    assert p_value(value) == written


def test_what_is_not_defined_is_a_dash() -> None:
    assert [maybe(None), maybe(float("nan")), maybe(0.0)] == ["–", "–", "0.000"]


def test_letters_are_the_same_for_the_same_model() -> None:
    letters = Letters(["first", "second"])
    assert letters.letter("second") == "B"
    assert letters.joined(("first", "second")) == "A‖B"
    assert letters.named(("second",)) == Markup("<b>B</b> second")
    assert Letters(map(str, range(30))).letter("29") == "M30"


def test_names_of_others_keep_their_direction_to_themselves() -> None:
    assert isolated("<b>") == "<b>"  # text yet: it is escaped where it is put in
    assert isolated("מודל") == Markup("<bdi>מודל</bdi>")


@given(st.text(st.characters(exclude_categories=())))
def test_clean_text_can_be_encoded_and_is_left_alone_the_second_time(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode()
    assert clean(cleaned) == cleaned
    assert not any(ord(sign) < 32 for sign in cleaned)


@pytest.mark.parametrize("unfit", ["\x00", "\x1b", "\x9f", "\ud800", "\u202e", "\u2067", "\uffff"])
def test_what_must_not_stand_in_a_page_is_replaced(unfit: str) -> None:
    assert clean(f"a{unfit}b") == "a\ufffdb"


def test_breaks_of_lines_are_spaces() -> None:
    assert clean("a\r\nb\tc") == "a b c"


@pytest.mark.parametrize("text", ["größer", "👩‍🔬", "الاسترجاع", "a\u200db", "tab-free"])
def test_ordinary_text_of_any_script_stays_as_it_is(text: str) -> None:
    assert clean(text) == text
