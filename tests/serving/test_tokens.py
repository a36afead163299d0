"""A token stands for one prediction that was made, and cannot be made up."""

import base64

import pytest

from editing.errors import UnknownPrediction
from serving.tokens import Made, Tokens

MADE = Made("a" * 64, "ä cat / or so", 3)


def test_round_trip_also_by_another_service_with_the_secret() -> None:
    assert Tokens(b"shared").read(Tokens(b"shared").issue(MADE)) == MADE


def test_every_changed_character_is_refused() -> None:
    tokens = Tokens()
    token = tokens.issue(MADE)
    sealed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for at in range(len(sealed)):
        changed = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        with pytest.raises(UnknownPrediction):
            tokens.read(base64.urlsafe_b64encode(changed).rstrip(b"=").decode())


@pytest.mark.parametrize("token", ["", "a", "not base 64!", "ä", "A" * 60, Tokens(b"other").issue(MADE)])
def test_what_it_did_not_issue_is_refused(token: str) -> None:
    with pytest.raises(UnknownPrediction):
        Tokens(b"shared").read(token)
