"""Who is at the review page, and whether it was this person who sent a form.

A reviewer is whom a signed token names, or whom a proxy that did the sign-in (OIDC, say) names in a header. The header
counts only where the connection comes from that proxy's own address. Tokens are a name and a time under HMAC-SHA256, in
itsdangerous' form: nothing is kept. A browser holds its token in a cookie that no script reads and no other site sends;
a form carries a second one as well, which only this site's own pages hold.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from fastapi import Request
from itsdangerous import BadData, URLSafeTimedSerializer
from pydantic import TypeAdapter, ValidationError
from starlette.exceptions import HTTPException

from errata.data.reports import Name

COOKIE = "errata_review"
DAY = 24 * 3600.0
_NAME = TypeAdapter[str](Name)


@dataclass(frozen=True)
class Reviewer:
    """Somebody who signed in. `bearer`: with a token in the request's own header, which no browser sends by itself."""

    name: str
    bearer: bool = False


class SignIn:
    """`sign_in.read(sign_in.issue(name)) == name` for `seconds`, and nobody without the secret makes such a token."""

    def __init__(
        self,
        secret: bytes | None = None,
        *,
        header: str | None = None,
        proxies: frozenset[str] = frozenset(),
        seconds: float = DAY,
    ) -> None:
        """Without a secret one is made up: tokens then end with the process. `header` is what the proxy at one of the
        addresses `proxies` sets; then no token is taken."""
        self.header, self._proxies, self._seconds = header, proxies, seconds
        secret = secret or secrets.token_bytes(32)
        signer = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        self._names = URLSafeTimedSerializer(secret, "review", signer_kwargs=signer)
        self._forms = URLSafeTimedSerializer(secret, "review form", signer_kwargs=signer)

    def issue(self, name: str) -> str:
        """A token for somebody; raises ValueError if that is no name that a report may have."""
        return str(self._names.dumps(_NAME.validate_python(name)))

    def read(self, token: str) -> str:
        """Whom a token names; raises HTTPException (401) if it is not ours, or too old."""
        try:
            return _NAME.validate_python(self._names.loads(token, max_age=int(self._seconds)))
        except (BadData, ValidationError):
            raise HTTPException(401, "this sign-in is not valid, or is over; sign in again") from None

    def reviewer(self, request: Request) -> Reviewer:
        """Who sent the request; raises HTTPException (401)."""
        if self.header is not None:
            return Reviewer(self._named_by_proxy(request))
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return Reviewer(self.read(token.strip()), bearer=True)
        if COOKIE not in request.cookies:
            raise HTTPException(401, "sign in first")
        return Reviewer(self.read(request.cookies[COOKIE]))

    def _named_by_proxy(self, request: Request) -> str:
        names = request.headers.getlist(self.header or "")
        if request.client is None or request.client.host not in self._proxies or len(names) != 1:
            raise HTTPException(401, f"the sign-in is a proxy's, which says in {self.header} who is there")
        try:
            return _NAME.validate_python(names[0].strip())
        except ValidationError:
            raise HTTPException(401, f"{self.header} names nobody that a report may name") from None

    def form_token(self, reviewer: Reviewer) -> str:
        """What this reviewer's forms carry."""
        return str(self._forms.dumps(reviewer.name))

    def check_form(self, request: Request, reviewer: Reviewer, token: str) -> None:
        """Raises HTTPException (403) unless a form came from a page of this site that this reviewer was shown."""
        check_origin(request)
        if reviewer.bearer:
            return
        try:
            if self._forms.loads(token, max_age=int(self._seconds)) == reviewer.name:
                return
        except BadData:
            pass
        raise HTTPException(403, "this form is not one that you were shown, or is too old; load the page again")


def check_origin(request: Request) -> None:
    """Raises HTTPException (403) if a browser says that another site's page sent this."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise HTTPException(403, "this came from another site; nothing was done")
