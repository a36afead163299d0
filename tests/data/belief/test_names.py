"""Names count once however they are spelt, and people who are two stay two."""

import random
from itertools import combinations

import pytest

from errata.data.belief.names import same_reporter
from tests.data.belief.test_trust import claim, judge

SPELLINGS = {
    "Ann Bell": [
        "ann bell",
        "ANN BELL",
        " Ann  Bell ",
        "AnnBell",
        "A\u200bnn Bell",  # zero-width space
        "Ann\u00ad Bell",  # soft hyphen
        "Ann Bell\u200d\u2060\ufeff",
        "\u202eAnn Bell",  # right to left
        "\u200fAnn Bell\u2066",
        "Ann\u00a0Bell",
        "Ann\u3000Bell",
        "\u0410nn Bell",  # Cyrillic A
        "Ann \u0412ell",  # Cyrillic Ve
        "Ann B\u0435ll",  # Cyrillic ie
        "\u0391nn Bell",  # Greek alpha
        "\uff21\uff4e\uff4e\u3000\uff22\uff45\uff4c\uff4c",  # full width
        "\U0001d400nn Bell",  # mathematical bold
        "A\u0301nn Bell",
        "\u00c1nn Bell",
        "Ann Bell\u0336",  # struck through
        "Ann Bell\u20dd",  # encircled
        "Ann Bell\ufe0f",  # variation selector
        "Ann\u034f Bell",  # grapheme joiner
        "Ann Bell\u3164",  # Hangul filler
        "Ann Bell\u0e38",  # a Thai vowel on a Latin letter
        "Ann Bell\U000e0041",  # a tag
        "Ann\u2800Bell",  # a Braille pattern without dots
        "Ann\U0001d159Bell",  # a note without a head
        "\u1d00\u0274\u0274 \u0299\u1d07\u029f\u029f",  # small capitals
        "\u249c\u24a9\u24a9 \u249d\u24a0\u24a7\u24a7",  # in parentheses
        "\U0001f170\U0001f17d\U0001f17d Bell",  # in squares
        "\U0001f1e6nn Bell",  # a regional indicator
        "A\u0363nn Bell",  # a small a above
    ],
    "Jos\u00e9": ["Jose\u0301", "JOS\u00c9", "Jose"],
    "\u0412\u043b\u0430\u0434\u0438\u043c\u0438\u0440": [
        "\u0412\u041b\u0410\u0414\u0418\u041c\u0418\u0420",
        "\u0412\u043ba\u0434\u0438\u043c\u0438p",  # with Latin a and p
    ],
    "\u039d\u03af\u03ba\u03bf\u03c2": ["\u039d\u0399\u039a\u039f\u03a3"],
    "\u7530\u4e2d": ["\u7530 \u4e2d", "\u7530\u200b\u4e2d", "\u7530\u4e2d\u0301", "\u2f65\u4e2d"],
    "O'Neil": ["O\u2019Neil", "o'neil"],
    "Stra\u00dfer": ["STRASSER"],
}

PEOPLE = """
    Ann Anna Anne Bob Rob Beil Bell Arnold Amold Andre Andrea Müller Mueller Möller José Josef Josefa O'Neil O'Neal
    a@b.c ab@c a@bc till-1 till-l till-4 reader_10 reader_lo reader_1O1 Łukasz Lucas Straßer Strauß Søren Sören2
    Владимир Владислав Дмитрий Дмитро Анна Инна Ольга Олег Саша Маша Νίκος Νίκη Ελένη Γιώργος
    田中 田仲 中田 山田 佐藤 佐東 かんだ がんだ はなこ ばなこ ハナコ バナコ 김철수 김철호 이영희
    राम रमा रामा सीता สมชาย สมหญิง محمد محمود أحمد علي דוד דינה יעקב שרה Արամ გიორგი 🙂 ♥
""".split()  # noqa: SIM905


@pytest.mark.parametrize("name", SPELLINGS)
def test_however_it_is_spelt_a_name_is_one(name: str) -> None:
    assert {ascii(each): same_reporter(each) for each in SPELLINGS[name]} == {
        ascii(each): same_reporter(name) for each in SPELLINGS[name]
    }


def test_people_who_are_two_stay_two() -> None:
    assert [(one, two) for one, two in combinations(PEOPLE, 2) if same_reporter(one) == same_reporter(two)] == []


@pytest.mark.parametrize("name", ["\u200b", "\u00ad\u00ad", "\u3164", "\u0301", "\u202e \u200f", "\U000e0041"])
def test_names_of_which_nothing_is_seen_are_one_person(name: str) -> None:
    assert same_reporter(name) == ""


@pytest.mark.parametrize("name", ["a\u00b7b", "ann\u0378", "\u1160ann", "\u0375ann"])
def test_a_name_that_precis_disallows_is_counted_all_the_same(name: str) -> None:
    assert same_reporter(name) != ""
    assert same_reporter(name) == same_reporter(name.upper())


def test_no_name_is_an_error() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        same_reporter("".join(chr(rng.choice([rng.randrange(0x3000), rng.randrange(0x20000)])) for _ in range(8)))


def test_one_person_in_many_spellings_is_no_quorum() -> None:
    names = ["Ann Bell", *SPELLINGS["Ann Bell"]]
    claims = [claim(f"r{number:02}", reporter=name) for number, name in enumerate(names)]
    decision = judge(*claims, quorum=2)
    assert (decision.agreed, decision.waiting) == ((), ("r00",))
    assert judge(*claims, claim("z", reporter="Anna Bell"), quorum=2).agreed != ()
