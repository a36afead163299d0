"""A token stands for one prediction that was made, and cannot be made up."""

import pytest

from errata.editing.errors import UnknownPrediction
from errata.serving.tokens import Made, Tokens

MADE = Made("a" * 64, "ä cat / or so", 3)


def test_round_trip_also_by_another_service_with_the_secret() -> None:
    assert Tokens(b"shared").read(Tokens(b"shared").issue(MADE)) == MADE


def test_every_changed_character_is_refused() -> None:
    """But the very last, of which Base64 uses four of six bits."""
    tokens = Tokens()
    token = tokens.issue(MADE)
    for at in range(len(token) - 1):
        changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        with pytest.raises(UnknownPrediction):
            tokens.read(changed)


def test_the_signature_of_one_is_not_that_of_another() -> None:
    tokens = Tokens()
    one, other = (tokens.issue(Made("a" * 64, "cat", version)).rsplit(".", 1) for version in (1, 2))
    with pytest.raises(UnknownPrediction):
        tokens.read(f"{one[0]}.{other[1]}")


@pytest.mark.parametrize("token", ["", "a", ".", "not base 64!", "ä", "A" * 60, Tokens(b"other").issue(MADE)])
def test_what_it_did_not_issue_is_refused(token: str) -> None:
    with pytest.raises(UnknownPrediction):
        Tokens(b"shared").read(token)
