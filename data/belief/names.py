"""Names of reporters: two spellings of one name count as one person.

What is compared is never shown. It is made in five steps: letters drawn as symbols or small capitals become letters;
characters that nobody sees are dropped (what PRECIS, RFC 8264, disallows: zero-width and soft hyphens, direction marks,
controls); PRECIS' nickname profile (RFC 8266) maps width and case; each character that looks like a Latin one becomes
that one (the confusables of UTS 39); spaces and diacritics are dropped, as are marks that do not belong to the script
of their letter.

So accents make no new person (José is Jose, Łukasz is Lukasz). Vowel signs and voicing marks, by which Indic, Thai,
Hebrew and Japanese names differ, stay. ASCII is left as it is: 1 is not l, and rn is not m.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from confusable_homoglyphs.confusables import confusables_data
from precis_i18n import get_profile
from precis_i18n.derived import derived_property
from precis_i18n.unicode import UnicodeData

_PROFILE = get_profile("NicknameCaseMapped")
_UNICODE = UnicodeData()
_SEEN = {"PVALID", "FREE_PVAL", "CONTEXTO"}
_BLANK = {"\u2800", "\U0001d159"}  # Braille without dots, a note without a head: symbols to Unicode, and nothing to see
_OVERLAY, _FIRST_DIACRITIC = 1, 200  # canonical combining classes: strokes through a letter; above and below it


@lru_cache(maxsize=4096)
def same_reporter(name: str) -> str:
    """What two spellings of one reporter's name have in common.

    A name that PRECIS disallows counts by what is left of it without the characters that are disallowed; all names of
    which nothing is left are one person, the empty name.
    """
    letters_of_it = "".join(map(_drawn_letter, name))
    seen = "".join(letter for letter in unicodedata.normalize("NFKC", letters_of_it) if _is_seen(letter))
    try:
        seen = _PROFILE.enforce(seen)
    except UnicodeEncodeError:  # empty, or a character in a place where it may not stand: it is counted all the same
        seen = seen.lower()
    letters = unicodedata.normalize("NFD", _without_foreign_marks(unicodedata.normalize("NFC", seen.casefold())))
    plain = unicodedata.normalize("NFD", "".join(map(_prototype, letters)))
    kept = (letter for letter in plain if not letter.isspace() and not _is_diacritic(letter))
    return unicodedata.normalize("NFC", "".join(kept))


def _drawn_letter(letter: str) -> str:
    """The Latin letter that a small capital or a symbol is, in a square or in parentheses say, by its Unicode name."""
    kind, last = ("", "", *unicodedata.name(letter, "").split())[-2:]
    is_latin = kind in ("LETTER", "CAPITAL") and len(last) == 1 and last.isascii()
    return last.lower() if is_latin and unicodedata.category(letter)[0] in "LS" else letter


def _is_seen(letter: str) -> bool:
    return letter not in _BLANK and derived_property(ord(letter), _UNICODE)[0] in _SEEN


def _is_diacritic(letter: str) -> bool:
    order = unicodedata.combining(letter)
    return order == _OVERLAY or order >= _FIRST_DIACRITIC or unicodedata.category(letter) == "Me"


def _without_foreign_marks(text: str) -> str:
    """The text without marks that compose with nothing and are not of the script of the letter that they stand on."""
    kept, script = [], ""
    for letter in text:
        if unicodedata.category(letter)[0] != "M":
            script = _script(letter)
        elif _script(letter) != script:
            continue
        kept.append(letter)
    return "".join(kept)


def _script(letter: str) -> str:
    """The first word of the character's name, which tells marks of one script from letters of another."""
    return unicodedata.name(letter, "").partition(" ")[0]


@lru_cache(maxsize=4096)
def _prototype(letter: str) -> str:
    """What the letter looks like: a Latin one if there is any, in one case or the other."""
    if letter.isascii():
        return letter
    for form in (letter, letter.upper()):
        best = min(_look_alikes(form), key=_plainness)
        if best.isascii():
            return best.lower()
    return min(_look_alikes(letter), key=_plainness)


def _look_alikes(letter: str) -> set[str]:
    """All that looks like the letter, itself included: the table leads to a prototype and from there to the others."""
    near = {letter, *_listed(letter)}
    return near.union(*map(_listed, near))


def _listed(letter: str) -> list[str]:
    return [entry["c"] for entry in confusables_data.get(letter, ())]


def _plainness(letter: str) -> tuple[bool, bool, str]:
    return not (letter.isascii() and letter.islower()), not letter.isascii(), letter
