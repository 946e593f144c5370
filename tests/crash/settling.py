"""The template dies while it settles a death: its successor settles that one, and all that died with the template."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import allcores
from allcores import start

from .dying import PATIENCE, Death, Stopped
from .scenarios import ITEMS, check_lock, drain, ends_after, get_one, plain, put_all, talk, use

if TYPE_CHECKING:
    from pathlib import Path

# Where the one that is killed first has stopped, and the steps that the template comes to by that.
FIRST = {
    "put.claimed": [
        "recover.tomb_made",
        "recover.cells_done",
        "recover.head_lowered",
        "tomb.freed",
        "arena.given_back",
    ],
    "put.committing": ["handover.block", "recover.commit_finished", "recover.head_lowered"],
    "take.accepted": ["handover.block", "recover.put_back", "recover.cells_done", "recover.head_lowered"],
    "acquire.taken": ["poison.begun", "poison.done"],
    "pipe.side_let_go": ["recover.side_cleared"],
}


# The template that begins has settled its predecessor, which had a ring: the second time is the one that is meant.
OF_RINGS = ("recover.cells_done", "recover.head_lowered")


def settle(place: Path, first: str, step: str) -> None:
    """Kill the process that stopped at ``first``; the template is to die at ``step`` while it settles that."""
    note = place / "template"
    note.unlink(missing_ok=True)
    start.stop_template()
    os.environ["ALLCORES_DIE_AT"] = f"{step}:{1 + (step in OF_RINGS)}:{note}"
    item = ITEMS["buffers"]
    queues = {name: allcores.Queue(3) for name in ("put.claimed", "put.committing", "take.accepted")}
    put_all(queues["take.accepted"], [item, "second"])
    lock = allcores.Lock()
    stopped = {
        "put.claimed": Stopped(place, "put.claimed", put_all, queues["put.claimed"], [item]),
        "put.committing": Stopped(place, "put.committing", put_all, queues["put.committing"], [item]),
        "take.accepted": Stopped(place, "take.accepted", get_one, queues["take.accepted"]),
        "acquire.taken": Stopped(place, "acquire.taken", use, lock),
    }
    # Not before: pipes are looked at for every death, and the template began with those of its predecessor's.
    here, there = allcores.Pipe()
    here.send("hello")
    stopped["pipe.side_let_go"] = Stopped(place, "pipe.side_let_go", talk, there)
    there.close()
    del os.environ["ALLCORES_DIE_AT"]  # the next template is to live
    stopped[first].process.kill()
    stopped[first].process.join(PATIENCE)
    successor = allcores.Process(target=int)  # settled by the time that it starts
    successor.start()
    successor.join(PATIENCE)
    assert successor.exitcode == 0
    assert note.read_text() == step, "the template did not die there"
    pid = stopped["acquire.taken"].process.pid
    assert pid is not None
    for each in (*(s.process for s in stopped.values()), successor):
        each.join(PATIENCE)
        each.close()
    assert drain(queues["put.claimed"]) == []
    assert drain(queues["put.committing"]) == [plain(item)]
    assert drain(queues["take.accepted"]) == [plain(item), "second"]
    assert ends_after(here) == ["answer"]
    check_lock(lock, Death(["acquire.taken"], 0, pid))
    for queue in queues.values():
        put_all(queue, [1, 2, 3])
        assert drain(queue) == [1, 2, 3]
