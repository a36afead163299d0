"""Kinds on the review page: the questions "old, new, or neither?", and what people decide about each kind.

Both are the records that `errata kinds` writes, which every later night honours; they take a trusted reviewer.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Annotated, TypeVar

from anyio import to_thread
from fastapi import FastAPI, Path, Request, Response
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from starlette.exceptions import HTTPException

from errata.data.records import STRICT, Sha256, wrong_fields
from errata.data.releases.correction_images import correction_file
from errata.data.releases.erasure import erased_digests
from errata.data.releases.questions import Verdict, answer_question, open_questions
from errata.data.reports import Note
from errata.editing.errors import DataError
from errata.flows.cli.review.decide import IN_REVIEW, reason
from errata.flows.cli.review.live import Desk
from errata.flows.cli.review.site import Site, Someone, answer
from errata.flows.releases.kinds import decide, live_kinds, merge, split
from errata.flows.stages.kinds import DISSOLVED

MEMBER = "member-"  # how the field of a correction that was marked begins
MERGE = "merged:"  # how merging with another kind is said; its name follows
MOST_FIELDS = 2000
SHOWN = 200  # of a kind's corrections


@dataclass(frozen=True, config=STRICT)
class Answered:
    """Which answer about the image with pixel digest `image` is right: the form's button says it."""

    image: Sha256
    action: Verdict


@dataclass(frozen=True, config=STRICT)
class KindDecided:
    """What a form says of `kind`: its new `name`, or in `what` that it is dissolved, restored, merged or split."""

    kind: str
    action: str
    name: str = ""
    what: str = ""
    why: Note = ""


Form = TypeVar("Form")
_ANSWERED, _DECIDED = TypeAdapter(Answered), TypeAdapter(KindDecided)


def kind_routes(app: FastAPI, site: Site) -> None:
    """Add the page of kinds, its forms, and the pictures of corrections."""
    storage = site.desk.storage

    @app.get("/kinds")
    def kinds(reviewer: Someone) -> Response:
        record, erased = live_kinds(storage), erased_digests(storage)
        shown = {each.name: sorted(each.corrections - erased)[:SHOWN] for each in record.kinds}
        return site.page(
            "kinds.html.j2",
            reviewer,
            record=record,
            shown=shown,
            questions=open_questions(storage),
            dissolved=DISSOLVED,
        )

    @app.post("/kinds/answer")
    async def answered(request: Request, reviewer: Someone) -> Response:
        said = _parsed(_ANSWERED, await site.form(request, reviewer))
        site.needs_trust(reviewer)
        work = partial(answer_question, storage, said.image, said.action, site.desk.model().image_shape, reviewer.name)
        question, _ = await to_thread.run_sync(work)
        right = {"old": question.old, "new": question.new, "neither": f"neither {question.old} nor {question.new}"}
        return answer(
            request, f"noted: it is {right[said.action]}; the next night judges {question.kind} by it", "/kinds"
        )

    @app.post("/kinds")
    async def decided(request: Request, reviewer: Someone) -> Response:
        found = await site.form(request, reviewer, MOST_FIELDS)
        members = [found.pop(name) and name.removeprefix(MEMBER) for name in list(found) if name.startswith(MEMBER)]
        said = _parsed(_DECIDED, found)
        site.needs_trust(reviewer)
        return answer(
            request, await to_thread.run_sync(partial(record, site.desk, reviewer.name, said, members)), "/kinds"
        )

    @app.get("/corrections/{identity}")
    def picture(identity: Annotated[str, Path(pattern="^[0-9a-f]{64}$")], reviewer: Someone) -> Response:
        return Response(correction_file(storage, identity, site.desk.model().image_shape), media_type="image/png")


def record(desk: Desk, by: str, said: KindDecided, members: list[str]) -> str:
    """Record a decision about a kind, `members` being the corrections that were marked; returns what follows from it.

    Raises DataError, NightError, StoreError.
    """
    storage = desk.storage
    if said.action == "name":
        decide(storage, said.kind, "named", name=said.name, by=by, why=said.why.strip() or IN_REVIEW)
        return f"it is {said.name} from the next release on"
    why = reason(said.why)
    if said.what == "dissolved":
        decide(storage, said.kind, "dissolved", by=by, why=why)
        return "dissolved: the next night releases a model without it"
    if said.what == "restored":
        decide(storage, said.kind, "restored", by=by, why=why)
        return "it may be a kind again, if it proves itself"
    if said.what == "split":
        split(storage, said.kind, members, by=by, why=why)
        return f"split: {len(members)} corrections are another kind from the next release on"
    if said.what.startswith(MERGE):
        merge(storage, [said.kind, said.what.removeprefix(MERGE)], by=by, why=why)
        return f"{said.kind} and {said.what.removeprefix(MERGE)} are one kind from the next release on"
    raise DataError("say what is decided: dissolve it, split it, or merge it with another")


def _parsed(form: TypeAdapter[Form], found: dict[str, str]) -> Form:
    try:
        return form.validate_json(json.dumps(found))
    except ValidationError as error:
        raise HTTPException(422, wrong_fields(error, "the form")) from None
