"""The tree of namespaces: what each may still use, and who uses more than is guaranteed to it.

The arithmetic is Kueue's (hierarchical cohorts, `pkg/cache/scheduler/resource_node.go`): a namespace's unused
guarantee is lent upwards unless `lend` keeps it back, and it borrows from above up to `borrow`. Kueue's pool is the
sum of all guarantees; ours is that, or the whole cluster where that is more: what nobody was guaranteed is for all.
"""

from collections.abc import Iterable, Iterator, Mapping

from kos_ray.model.policy import Amounts, Namespace
from kos_ray.model.resources import Resources

#: more than any cluster has
BOUNDLESS = 1 << 62
ROOT = ""


class Tree:
    """Namespaces with what they are guaranteed. `used` is by namespace, those below included; the caller keeps it."""

    def __init__(self, namespaces: Iterable[Namespace], capacity: Mapping[str, int] | None) -> None:
        """`capacity` None: nothing is there but what is guaranteed."""
        self.settings = {found.name: found for found in namespaces}
        self.children: dict[str, list[str]] = {}
        for name in list(self.settings):
            for upper, lower in _edges(name):
                below = self.children.setdefault(upper, [])
                if lower not in below:
                    below.append(lower)
        self._capacity = capacity
        #: whether any namespace has settings of amounts
        self.matters = any(
            found.guaranteed or found.limit or found.borrow or found.lend for found in self.settings.values()
        )
        #: what is guaranteed in a subtree, and what of it is kept from others
        self._pool: dict[tuple[str, str], int] = {}

    def own(self, name: str, resource: str) -> int:
        """What is guaranteed to a namespace itself."""
        return _amount(self.settings.get(name), "guaranteed", resource) or 0

    def pool(self, name: str, resource: str) -> int:
        """What a subtree has: its own guarantee and what its parts lend it; the root at least the cluster."""
        place = (name, resource)
        if place not in self._pool:
            found = self.own(name, resource)
            found += sum(self.pool(child, resource) - self.kept(child, resource) for child in self._below(name))
            if name == ROOT and self._capacity is not None:
                whole = self._capacity.get(resource, 0)
                found = max(found, whole - sum(self.kept(child, resource) for child in self._below(name)))
            self._pool[place] = found
        return self._pool[place]

    def kept(self, name: str, resource: str) -> int:
        """What a namespace never lends: of its pool all but `lend`."""
        lend = _amount(self.settings.get(name), "lend", resource)
        return 0 if lend is None or name == ROOT else max(0, self.pool(name, resource) - lend)

    def available(self, used: Mapping[str, Mapping[str, int]], name: str, resource: str, *, full: bool = True) -> int:
        """How much more of a resource a namespace may use now; negative when it is above its limit already.

        `full` False leaves out that the whole may be in use: what is left then is what settings alone allow.
        """
        mine = used.get(name, {}).get(resource, 0)
        limit = _amount(self.settings.get(name), "limit", resource)
        room = BOUNDLESS if limit is None else limit - mine
        if name == ROOT:
            # what others keep back is not in the root's pool, and what they use of it does not count here
            return room if not full else min(room, self.pool(ROOT, resource) - self._beyond_kept(used, ROOT, resource))
        upper = name.rpartition("/")[0]
        kept = self.kept(name, resource)
        above = self.available(used, upper, resource, full=full)
        borrow = _amount(self.settings.get(name), "borrow", resource)
        if borrow is not None:
            lent = self.pool(name, resource) - kept
            used_above = max(0, self._use(used, name, resource) - kept)
            above = min(above, lent - used_above + borrow)
        return min(room, max(0, kept - self._use(used, name, resource)) + above)

    def left(self, used: Mapping[str, Mapping[str, int]], name: str) -> Amounts:
        """What settings let a namespace use on top of what it uses, of the resources that they bound."""
        found = [
            (resource, self.available(used, name, resource, full=False)) for resource in sorted(self._capacity or {})
        ]
        return tuple((resource, amount) for resource, amount in found if amount < BOUNDLESS // 2)

    def _use(self, used: Mapping[str, Mapping[str, int]], name: str, resource: str) -> int:
        """What a subtree takes of its own pool: its own use, and what of its parts' use they have not kept back."""
        parts = self._below(name)
        if not parts:
            return used.get(name, {}).get(resource, 0)
        return self._own_use(used, name, resource) + self._beyond_kept(used, name, resource, own=False)

    def _own_use(self, used: Mapping[str, Mapping[str, int]], name: str, resource: str) -> int:
        whole = used.get(name, {}).get(resource, 0)
        return whole - sum(used.get(child, {}).get(resource, 0) for child in self._below(name))

    def _beyond_kept(self, used: Mapping[str, Mapping[str, int]], name: str, resource: str, *, own: bool = True) -> int:
        found = self._own_use(used, name, resource) if own else 0
        for child in self._below(name):
            found += max(0, self._use(used, child, resource) - self.kept(child, resource))
        return found

    def _below(self, name: str) -> list[str]:
        return self.children.get(name, [])

    def lacking(self, used: Mapping[str, Mapping[str, int]], name: str, wanted: Resources) -> tuple[str, ...]:
        """The resources of which a namespace may not use so much more."""
        return tuple(resource for resource, amount in wanted.amounts if self.available(used, name, resource) < amount)

    def forbids(self, used: Mapping[str, Mapping[str, int]], name: str, wanted: Resources) -> bool:
        """Whether settings, and not a full cluster, keep a namespace from using so much more."""
        return any(
            self.available(used, name, resource, full=False) < amount
            or self._free(used, resource) >= amount > self.available(used, name, resource)
            for resource, amount in wanted.amounts
        )

    def _free(self, used: Mapping[str, Mapping[str, int]], resource: str) -> int:
        """What of the cluster nobody uses."""
        return (self._capacity or {}).get(resource, 0) - used.get(ROOT, {}).get(resource, 0)

    def times(self, used: Mapping[str, Mapping[str, int]], name: str, wanted: Resources, at_most: int) -> int:
        """How many more reservations of a vector a namespace may have."""
        if not self.matters:
            return at_most
        for resource, amount in wanted.amounts:
            at_most = min(at_most, self.available(used, name, resource) // amount)
        return max(0, at_most)

    def borrows(self, used: Mapping[str, Mapping[str, int]], name: str, wanted: Resources) -> bool:
        """Whether with `wanted` on top a namespace uses more of any of it than its subtree's pool."""
        return any(
            self._use(used, name, resource) + amount > self.pool(name, resource) for resource, amount in wanted.amounts
        )

    def borrows_already(self, used: Mapping[str, Mapping[str, int]], name: str, resources: Iterable[str]) -> bool:
        """Whether a namespace uses more than its subtree's pool of any of these."""
        return any(self._use(used, name, resource) > self.pool(name, resource) for resource in resources)


def _edges(name: str) -> Iterator[tuple[str, str]]:
    """Each namespace above and the one below it, down to `name`."""
    while name:
        upper = name.rpartition("/")[0]
        yield upper, name
        name = upper


def _amount(settings: Namespace | None, field: str, resource: str) -> int | None:
    if settings is None:
        return None
    found: Amounts = getattr(settings, field)
    return dict(found).get(resource)
