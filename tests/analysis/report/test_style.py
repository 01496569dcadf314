"""Colours: every text can be read on its ground, in light and in dark."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from analysis.report.heatmaps import STEPS

STYLE = (resources.files("analysis.report") / "assets" / "style.css").read_text(encoding="utf-8")
READABLE = 4.5  # WCAG 2.2, 1.4.3
VISIBLE = 3.0  # WCAG 2.2, 1.4.11, for lines and marks that carry meaning


def colours(theme: str) -> dict[str, str]:
    light, dark = re.findall(r":root \{(.*?)\}", STYLE, flags=re.DOTALL)
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", light if theme == "light" else dark))


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    dark, light = sorted((luminance(a), luminance(b)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_the_one_of_the_guidelines() -> None:
    # black on white is 21 by definition; #767676 is the well-known lightest grey that passes on white
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert 4.5 <= contrast("#767676", "#ffffff") < 4.6


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("ground", ["page", "panel", "mark"])
@pytest.mark.parametrize("text", ["text", "quiet", "link", "win", "loss"])
def test_texts_can_be_read_on_every_ground(theme: str, ground: str, text: str) -> None:
    palette = colours(theme)
    assert contrast(palette[text], palette[ground]) >= READABLE


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("badge", ["win", "loss", "unsure"])
def test_badges_can_be_read(theme: str, badge: str) -> None:
    palette = colours(theme)
    assert contrast(palette["on-badge"], palette[badge]) >= READABLE


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("step", range(STEPS))
def test_values_can_be_read_on_every_shade(theme: str, step: int) -> None:
    palette = colours(theme)
    assert contrast(palette[f"t{step}"], palette[f"h{step}"]) >= READABLE


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_shades_go_one_way_so_that_they_are_told_apart_without_colour(theme: str) -> None:
    shades = [luminance(colours(theme)[f"h{step}"]) for step in range(STEPS)]
    assert shades == sorted(shades, reverse=theme == "light")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_marks_are_visible(theme: str) -> None:
    palette = colours(theme)
    assert all(contrast(palette[mark], palette["page"]) >= VISIBLE for mark in ("win", "loss", "chosen"))


def test_every_colour_of_the_style_is_one_of_the_palette() -> None:
    rules = re.sub(r":root \{.*?\}", "", STYLE, flags=re.DOTALL)
    assert not re.findall(r"#[0-9a-f]{3,8}\b", rules)
    assert set(re.findall(r"var\(--([\w-]+)\)", rules)) <= set(colours("light"))
    assert set(colours("light")) == set(colours("dark"))


def test_dark_is_for_screens_alone() -> None:
    assert "@media screen and (prefers-color-scheme: dark)" in STYLE
    assert STYLE.count("prefers-color-scheme") == 1
