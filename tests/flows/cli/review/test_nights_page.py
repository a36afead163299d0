"""An inconclusive night is answered on the page, by a trusted reviewer alone."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from fastapi.testclient import TestClient

from errata.flows.cli.review.nights import Nights
from errata.flows.cli.review.service import create_app
from errata.flows.cli.review.sign_in import COOKIE
from errata.flows.prefect_runs.approval import WaitingRun
from tests.flows.cli.review.conftest import BROWSER, Desk, form_token

RUN = WaitingRun(UUID(int=7), "brave-otter", "Inconclusive: <b>drawdown</b>. No answer means no.")


@dataclass
class Prefect:
    """A server on which one run waits; `said` are its answers."""

    said: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def answer(self, run: str, **more: Any) -> WaitingRun:
        self.said.append((run, more))
        return RUN


def client(desk: Desk, prefect: Prefect, name: str) -> TestClient:
    nights = Nights(lambda: [RUN], prefect.answer)
    found = TestClient(create_app(desk.storage, desk.trust, 8, desk.sign_in, nights), follow_redirects=False)
    found.cookies.set(COOKIE, desk.sign_in.issue(name))
    return found


def test_a_trusted_reviewer_answers_and_nobody_else(desk: Desk) -> None:
    prefect, path = Prefect(), f"/nights/{RUN.id}"
    ann, mallory = client(desk, prefect, "ann lee"), client(desk, prefect, "mallory")
    page = ann.get("/nights")
    assert "brave-otter" in page.text and "Inconclusive: &lt;b&gt;drawdown" in page.text
    mine, other = form_token(page), form_token(mallory.get("/nights"))
    assert mallory.post(path, data={"action": "release", "form_token": other}).status_code == 403
    assert ann.post(path, data={"action": "release", "form_token": other}).status_code == 403
    assert ann.post(path, data={"action": "both", "form_token": mine}).status_code == 422
    assert ann.post("/nights/x", data={"action": "release", "form_token": mine}).status_code == 422
    assert prefect.said == []
    assert ann.post(path, data={"action": "release", "why": "few images", "form_token": mine}).status_code == 200
    no = ann.post(path, data={"action": "refuse", "form_token": mine}, headers=BROWSER)
    assert (no.status_code, no.headers["location"]) == (303, "/nights?answered=refuse")
    assert "Your answer was taken. It goes on, and the old model stays live." in ann.get(no.headers["location"]).text
    assert ann.get("/nights?answered=<b>").status_code == 422
    assert prefect.said == [
        (str(RUN.id), {"release": True, "who": "ann lee", "why": "few images"}),
        (str(RUN.id), {"release": False, "who": "ann lee", "why": ""}),
    ]


def test_without_a_server_there_is_no_such_page(desk: Desk) -> None:
    signed_in = desk.as_("ann lee")
    assert signed_in.get("/nights").status_code == 404
    assert "/nights" not in signed_in.get("/").text
