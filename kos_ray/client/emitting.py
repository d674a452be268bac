"""Events: what happens somewhere, told to the cluster, and jobs that start for it."""

import getpass
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Unpack

import msgpack

from kos_ray.client.scheduling import Scheduling, Terms
from kos_ray.model.errors import InvalidSpec
from kos_ray.model.occasion import Occasion
from kos_ray.model.wire import to_plain


class Emitting(Scheduling):
    """The part of a client that is about events."""

    def emit(
        self,
        name: str,
        data: Any = None,
        *,
        key: str = "",
        id: str = "",  # noqa: A002 - as it is called everywhere
        at: datetime | None = None,
        source: str = "",
    ) -> bool:
        """Say that something happened. It is durable when this returns, and so are the jobs that it makes.

        `data` is what JSON has, up to 64 KiB. With an `id` that was heard before in this namespace, among the last
        100 000, nothing happens, and False comes back.

        Raises:
            InvalidSpec, Refused: nothing was stored; the message says why.

        """
        at = at or datetime.now(UTC)
        try:
            text = "" if data is None else json.dumps(data, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidSpec(f"event {name}: expected data that JSON has: {error}") from None
        occasion = Occasion(
            id=id or uuid.uuid4().hex,
            name=name,
            namespace=self.namespace,
            key=key,
            data=text,
            at_us=round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1e6),
            source=source,
        )
        packed = msgpack.packb({"occasions": [to_plain(occasion)], "by": getpass.getuser()})
        answer = msgpack.unpackb(self._call(lambda: self._connection.ask_scheduler("emit", packed)))
        return not answer["known"]

    def on(
        self,
        function: Callable[..., Any],
        events: str | Sequence[str],
        *,
        name: str = "",
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        replace: bool = False,
        options: Mapping[str, Any] | None = None,
        **terms: Unpack[Terms],
    ) -> dict[str, Any]:
        """Have a call start by itself for each event of any of these names (`file.*`) for which `where` holds.

        One job for each event; its code finds that as `kos.context().event`. Otherwise as `schedule`.

        Raises:
            InvalidSpec, Refused: nothing was stored; the message says why.

        """
        terms["on"] = events
        return self.schedule(
            function, (), name=name, args=args, kwargs=kwargs, replace=replace, options=options, **terms
        )
