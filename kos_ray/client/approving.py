"""Approval by people: `client.approve("deploy", note="ok")`; see docs/coordination.md."""

import uuid
from typing import Any

from kos_ray.client.mailboxes import Posting
from kos_ray.model.ids import JobKey


class Approving(Posting):
    """The part of a client that is about approval."""

    def approvals(self) -> list[dict[str, Any]]:
        """The jobs of all namespaces that wait for approval: `ask`, `by`, `due_us`, `ready`, and so on."""
        found = self._look("approvals")
        views = {view.key: view for view in self._client._views([JobKey(one["key"]) for one in found])} if found else {}
        for one in found:
            view = views[one["key"]]
            one["job"], one["id"] = view.name or view.id, view.id
        return found

    def approve(self, *refs: str, note: str = "") -> int:
        """Let jobs start that wait for approval (by id or name; of an array all its items); how many they are.

        Raises:
            Refused: one of them does not wait for it, or somebody else is asked. Nothing was answered then.

        """
        return self._answer(refs, note, approved=True)

    def reject(self, *refs: str, note: str = "") -> int:
        """End jobs that wait for approval; otherwise as `approve`."""
        return self._answer(refs, note, approved=False)

    def _answer(self, refs: tuple[str, ...], note: str, *, approved: bool) -> int:
        keys = self._client._keys(refs)
        fields = {"request_id": uuid.uuid4().hex, "keys": keys, "approved": approved, "note": note}
        return int(self._coordinate("answer", fields)["jobs"])
