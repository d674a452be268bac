"""Snapshots of agents: to take one now, to see them, and to go back to one; see docs/agents.md."""

import time
from typing import Any

from kos_ray.client.agents import Tending
from kos_ray.model.errors import KosError, Refused

#: seconds between two looks whether it has saved, and after which it is asked again: a request may be lost
_LOOK_S = 0.05
_AGAIN_S = 5.0
#: seconds that a save may take, where nobody says otherwise
_TIMEOUT_S = 60.0


class Remembering(Tending):
    """The part of a client that is about what agents have saved."""

    def snapshot_agent(self, name: str, timeout: float = _TIMEOUT_S) -> dict[str, Any]:
        """Have an agent that runs save its state now; the snapshot, as in `agent_snapshots`.

        It is taken between two messages, and durable when this returns. Where nothing has changed since the last one
        it is that one.

        Raises:
            NotFound: there is no agent of that name.
            Refused: it does not run, is a program, or could not save its state.
            KosError: it has not saved within `timeout` seconds.

        """
        asked = self._agent_wish("snapshot", name)
        since = begun = time.monotonic()
        while True:
            found = self._agent_wish("snapshots", name)
            if found["saves"] > asked["saves"] and found["wrong"]:
                raise Refused(f"agent {name} could not save its state: {found['wrong']}")
            current = [one for one in found["snapshots"] if one["current"]]
            if found["saves"] > asked["saves"] and current:
                return dict(current[0])
            now = time.monotonic()
            if now - begun > timeout:
                raise KosError(
                    f"agent {name}: expected a snapshot within {timeout:g} s, found none: it is taken when no message "
                    f"runs, and one may (`kos agent get {name}`, `kos agent logs {name}`); ask again with more time"
                )
            if now - since > _AGAIN_S:
                since = now
                self._agent_wish("snapshot", name)
            time.sleep(_LOOK_S)

    def agent_snapshots(self, name: str) -> list[dict[str, Any]]:
        """What an agent can go back to, the oldest first.

        Each has `id`, `parent` (an id, "" for none), `at_us`, `why` (step, suspend, schedule or asked), `size` in
        bytes, `hash` (SHA-256), whether the agent's state comes from it (`current`), and whether it goes on from it
        next (`next`).

        Raises:
            NotFound: there is no agent of that name.
            Refused: it is a program.

        """
        return list(self._agent_wish("snapshots", name)["snapshots"])

    def rollback_agent(self, name: str, snapshot: str, note: str = "") -> dict[str, Any]:
        """Let an agent go on from a snapshot: an id, or as many of its first digits as tell it from the others.

        If it runs its present state is saved first, as a snapshot, and it comes back at once; one that is suspended or
        sleeps begins with it when it comes back. Messages wait meanwhile.

        Raises:
            NotFound: there is no agent of that name.
            Refused: there is no such snapshot, it is a program, or it is stopped.

        """
        return self._agent_wish("rollback", name, snapshot=snapshot, note=note)
