"""What a person is asked after a night: of the day's requests, some on which a kind changes the answer."""

from __future__ import annotations

from errata.data.images import pixel_digest
from errata.data.releases.edit_record import EditRecord
from errata.data.releases.questions import Question, keep_question, open_questions
from errata.data.splits import load_split
from errata.flows.night.state import Night
from errata.flows.night.step import STORE_AWAY, step


@step("ask people", waits=STORE_AWAY)
def ask_people(night: Night) -> None:
    """Put the questions of the candidate's kinds into the store, whether it is released or not."""
    workspace = night.workspace
    record = EditRecord.from_json(workspace.read(workspace.candidate / "edit.json"))
    wanted = {
        each.image: Question(each.image, each.old, each.new, kind.name)
        for kind in record.kinds
        for each in kind.questions
    }
    if not wanted:
        return
    for image in load_split(workspace.splits, "traffic").images:
        if question := wanted.pop(pixel_digest(image), None):
            keep_question(night.storage, question, image)
    count = len(open_questions(night.storage))
    night.log(f"kinds change {count} of the day's requests that nobody has judged; `errata kinds ask` shows them")
