"""Who had how much: reservations by account, and their dominant share, decayed by event time.

Dominant resource fairness (Ghodsi et al., NSDI 2011) over what is reserved, smoothed as Slurm and HTCondor do: an
account's share runs after its present dominant share with a half-life, and each start adds a penalty at once
(Kueue's entry penalty), so that a flood of short jobs is not free. All in integers of a millionth: sums do not depend
on their order, so a replay has the same.
"""

from functools import lru_cache

from kos_ray.model.resources import Resources, add
from kos_ray.scheduler.jobs import JobClass
from kos_ray.scheduler.quota import ROOT
from kos_ray.scheduler.state import Account, State

#: a whole cluster
WHOLE = 1_000_000


def account_of(state: State, name: str) -> Account:
    """The account of that name, made when it is new."""
    account = state.accounts.get(name)
    if account is None:
        account = state.accounts[name] = Account()
    return account


@lru_cache(maxsize=4_096)
def paths(name: str) -> tuple[str, ...]:
    """An account and all above it, the highest first: a user's in `a/b` has `a`, `a/b`, and itself."""
    namespace, _, user = name.partition("\0")
    parts = namespace.split("/")
    found = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    return (*found, name) if user else tuple(found)


def dominant(state: State, amounts: dict[str, int]) -> int:
    """The largest weighted share of the cluster that these amounts are, in millionths."""
    weights = dict(state.policy.share_weights)
    best = 0
    for name, amount in amounts.items():
        whole = state.capacity.get(name, 0)
        if whole and amount > 0:
            best = max(best, amount * WHOLE // whole * weights.get(name, 1_000) // 1_000)
    return best


def present_share(state: State, name: str) -> int:
    """The weighted dominant share of what is reserved for an account."""
    found = state.shares_now.get(name)
    if found is None:
        found = state.shares_now[name] = dominant(state, state.reserved.get(name, {}))
    return found


def share_at(state: State, name: str, now_us: int) -> int:
    """An account's share at an instant: since it was last counted it has moved towards what is reserved."""
    account = state.accounts.get(name)
    if account is None:
        return 0
    elapsed_us = now_us - account.at_us
    if elapsed_us <= 0:
        return account.share
    present = present_share(state, name)
    kept = 0.5 ** (elapsed_us / state.policy.half_life_us) if state.policy.half_life_us else 0.0
    return present + int((account.share - present) * kept)


def _counted(state: State, name: str, now_us: int) -> Account:
    """An account, its share brought to `now_us`. Only where it changes: a look at it must leave no trace."""
    state.share_changes += 1
    account = account_of(state, name)
    account.share = share_at(state, name, now_us)
    account.at_us = max(account.at_us, now_us)
    return account


def reserve(state: State, namespace: str, resources: Resources, times: int, now_us: int) -> None:
    """Count reservations (negative: given back) for a namespace and all above it."""
    for name in paths(namespace):
        _counted(state, name, now_us)
        state.shares_now.pop(name, None)
        add(state.reserved.setdefault(name, {}), resources, times)
    add(state.reserved.setdefault(ROOT, {}), resources, times)


def started(state: State, job_class: JobClass, count: int, now_us: int) -> None:
    """Charge the entry penalty of starts."""
    penalty = step_of(state, job_class.kind.resources) * state.policy.entry_penalty // 1_000
    for name in paths(job_class.account):
        _counted(state, name, now_us).share += penalty * count


def step_of(state: State, resources: Resources) -> int:
    """What one more reservation adds to a share."""
    found = state.steps.get(resources)
    if found is None:
        found = state.steps[resources] = dominant(state, dict(resources.amounts))
    return found


def standing(state: State, name: str, now_us: int, more: int = 0) -> tuple[int, ...]:
    """How an account stands against others, lowest first: by its highest namespace, then below (a fair tree).

    `more` is what a start would add. Shares are divided by weights.
    """
    found: list[int] = []
    for part in paths(name):
        settings = state.tree.settings.get(part)
        weight = settings.weight if settings else 1_000
        # what it has now counts at once, what it had only slowly less
        share = max(share_at(state, part, now_us), present_share(state, part))
        found.append((share + more) * 1_000 // weight if weight else WHOLE * 1_000)
    return tuple(found)
