"""Messages of an agent beside the saves of its state: what is reported is saved, and what is saved is remembered."""

import threading
from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

from kos_ray.model.job import AttemptEnd, Carries
from kos_ray.model.payload import inline
from kos_ray.worker.agent_host import Life

DONE = (int(AttemptEnd.SUCCEEDED), inline(b"1"), None)


class Counter:
    """An agent."""

    def __init__(self) -> None:
        self.count = 0


def living(saves: list[Any], **carries: Any) -> Life:
    line = SimpleNamespace(gone=False, for_good=False, stop_grace_ms=lambda *_: 9_000)
    context = SimpleNamespace(key=1, attempt=1, packed=dict, snapshot=lambda state, why: saves.append(state))
    found: Any = Life
    life: Life = found(Counter, Carries(name="counter", **carries), 9_000, line, context, None)
    life.instance = Counter()
    return life


def test_a_message_is_remembered_before_a_save_can_have_its_effect_alone() -> None:
    inside = []

    class Handled(OrderedDict[str, bytes]):
        def __setitem__(self, key: str, value: bytes) -> None:
            inside.append(life.saves._gate._inside)
            super().__setitem__(key, value)

    saves: list[Any] = []
    life = living(saves, snapshot_every=1)
    life.saves._handled = Handled()
    assert life.saves.handle("m", lambda: DONE) == DONE
    assert inside == [1], "no save while it is on its way"
    assert list(saves[0]["handled"]) == ["m"]


def test_a_call_that_ends_behind_the_last_save_is_not_reported() -> None:
    saves: list[Any] = []
    life = living(saves)
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()

    def call() -> Any:
        begun.set()
        go.wait()
        life.instance.count += 1
        return DONE

    def handle() -> None:
        life.saves.handle("m", call)
        ended.set()

    thread = threading.Thread(target=handle, daemon=True)
    thread.start()
    begun.wait()
    life._leave()
    assert saves == [{"state": {"count": 0}, "handled": {}}]
    go.set()
    gate = life.saves._gate
    with gate._changed:
        gate._changed.wait_for(lambda: not gate._inside)
    with gate._changed:  # it stands where it waits
        assert not ended.is_set()
        gate._shut = False
        gate._changed.notify_all()
    thread.join()
