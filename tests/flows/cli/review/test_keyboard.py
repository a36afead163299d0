"""The page in a real browser, by keyboard alone: signed in by the link, claims accepted, refused, said otherwise."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from errata.data import layout
from errata.data.reports import parse_report
from errata.flows.cli.review.service import create_app
from tests.browser import start_browser
from tests.flows.cli.review.conftest import CLASSES, Desk, predicted

ENTER, ESCAPE = "\ue007", "\ue00c"


@contextmanager
def served(desk: Desk) -> Iterator[str]:
    """The page on a port of its own."""
    app = create_app(desk.storage, desk.trust, 8, desk.sign_in, effect=lambda _, wanted: f"<b> 3 of 40 as {wanted}")
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", proxy_headers=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.mark.slow
def test_a_queue_is_decided_by_keys(desk: Desk, tmp_path: Path) -> None:
    wrong = {image: [name for name in CLASSES if name != predicted(image)] for image in (7, 9, 11)}
    for image, classes in wrong.items():
        desk.claim(image, classes[0], "bob", note="<b>look</b>")
    with served(desk) as url, start_browser(tmp_path / "profile") as browser:
        browser.visit(f"{url}/sign-in#{desk.sign_in.issue('ann lee')}", 1200, 900)
        browser.wait_for("document.querySelectorAll('article.card').length === 3")
        assert browser.evaluate("location.pathname + location.hash") == "/"

        def now() -> str:
            return str(browser.evaluate("document.querySelector('.card.current').id"))

        def outcome(card: str, words: str) -> None:
            browser.wait_for(f"document.querySelector('#{card} .outcome').textContent.includes('{words}')")

        first = now()
        expected = browser.evaluate(f"document.querySelector('#{first} [name=expected]').value")
        browser.wait_for(
            f"document.querySelector('#{first} .beside').textContent.startsWith('<b> 3 of 40 as {expected}. ')"
        )
        browser.press("j")
        second = now()
        browser.press("k")
        assert first == now() != second
        browser.press("?")
        browser.wait_for("document.getElementById('help').open")
        browser.press("?")
        browser.wait_for("!document.getElementById('help').open")
        browser.press("a")
        outcome(first, "accepted")
        browser.wait_for(f"document.querySelector('.card.current').id === '{second}'")
        browser.press("r")
        browser.press(ENTER)
        outcome(second, "say why")
        browser.press("r")
        browser.press("a blur j" + ESCAPE)
        assert now() == second, "what is typed into a field is no command"
        browser.press("r")
        browser.press(ENTER)
        outcome(second, "refused")
        third = now()
        assert third not in {first, second}
        image = browser.evaluate(f"document.querySelector('#{third} [name=image]').value")
        claimed = browser.evaluate(f"document.querySelector('#{third} [name=expected]').value")
        instead = next(each[1] for each in wrong.values() if each[0] == claimed)
        browser.press("c")
        browser.press(instead + ENTER)
        outcome(third, f"corrects it to {instead}")
        mine = [parse_report(desk.storage.get(key)) for key in desk.storage.keys(layout.INBOX)]
        assert (image, instead) in {(each.image, each.expected) for each in mine if each.reporter == "ann lee"}
        records = [json.loads(desk.storage.get(key)) for key in desk.storage.keys(layout.RETRACTED)]
        assert {each["why"] for each in records} == {"a blur j", f"it is {instead}"}
        for width, scheme in ((390, "dark"), (1200, "light")):
            for page in ("/", "/reports"):
                browser.visit(url + page, width, 844, scheme)
                browser.wait_for("document.querySelector('main img').complete")
                assert browser.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (width, page)
        assert [each for each in browser.console() if "422" not in each] == []  # a refusal without a reason was one
