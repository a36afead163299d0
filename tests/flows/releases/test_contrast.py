"""What is written on a page can be read by all: the contrast of its colours, by WCAG 2.2's own formula."""

import re

import pytest

from tests.pages import REPOSITORY

TEMPLATES = {
    "report": REPOSITORY / "flows" / "releases" / "contents" / "templates" / "report.css",
    "review": REPOSITORY / "flows" / "cli" / "review" / "templates" / "review.css",
}
TEXT, EDGE = 4.5, 3.0  # success criteria 1.4.3 (AA, small text) and 1.4.11 (edges of what is operated)
PAIRS = [("soft", "paper"), ("soft", "card"), ("ink", "paper"), ("fill", "paper"), ("fill", "card")]
PAIRS += [(name, on) for name in ("pass", "fail", "open") for on in (f"{name}-soft", "paper", "card")]


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb`."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The ratio of two colours, 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def colours(style: str, scheme: str) -> dict[str, str]:
    """The named colours of a style sheet, by name."""
    roots = re.findall(r":root \{([^}]*)\}", TEMPLATES[style].read_text())
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", roots[scheme == "dark"]))


def test_the_formula_is_the_standards() -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.005)  # the standard's best known grey


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("style", TEMPLATES)
def test_every_pair_of_colours_is_apart(style: str, scheme: str) -> None:
    found = colours(style, scheme)
    assert {f"{one} on {on}": ratio for one, on in PAIRS if (ratio := contrast(found[one], found[on])) < TEXT} == {}
    assert min(contrast(found["edge"], found[on]) for on in ("paper", "card")) >= EDGE
