"""What members of gangs do in the tests: each writes down what it was told, and waits to be let go."""

import json
import os
import time
from pathlib import Path

import kos_ray as kos


def _note(folder: Path, name: str, **found: object) -> None:
    path = folder / f"{name}.json"
    path.with_suffix(".part").write_text(json.dumps(found))
    path.with_suffix(".part").rename(path)


def member(told: tuple[str, int]) -> dict[str, object]:
    """Say who is there; go on until the test says so, or fails or kills this member."""
    folder, number = Path(told[0]), told[1]
    context = kos.context()
    gang = context.gang
    assert gang is not None
    name = f"{gang.round}-{gang.rank}"
    told_now = {"rank": gang.rank, "size": gang.size, "nodes": gang.nodes}
    _note(folder, name, number=number, pid=os.getpid(), node=context.node, **told_now)
    while not (folder / "release").exists():
        if context.should_stop():
            return {}
        if (folder / f"fail-{name}").exists():
            raise RuntimeError("as the test wants it")
        if context.gang is not None and context.gang.lost:
            _note(folder, f"lost-{gang.rank}", lost=context.gang.lost)
        time.sleep(0.02)  # the gang's word comes from outside: there is nothing to wait on
    now = context.gang
    assert now is not None
    return {"rank": now.rank, "nodes": now.nodes, "lost": now.lost, "share": now.share(range(8)), "round": now.round}
