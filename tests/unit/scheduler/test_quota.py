"""The arithmetic of the tree of namespaces, by small examples."""

from kos_ray.model.policy import Namespace
from kos_ray.model.resources import Resources
from kos_ray.scheduler.quota import Tree

CPU = "CPU"


def cpus(**amounts: int) -> dict[str, tuple[tuple[str, int], ...]]:
    return {name: ((CPU, amount),) for name, amount in amounts.items()}


def used(**amounts: int) -> dict[str, dict[str, int]]:
    """By namespace (`a__b` is a/b), those below counted in those above, as the scheduler keeps it."""
    found: dict[str, dict[str, int]] = {"": {CPU: 0}}
    for text, amount in amounts.items():
        parts = text.split("__")
        for name in ["", *("/".join(parts[: n + 1]) for n in range(len(parts)))]:
            entry = found.setdefault(name, {})
            entry[CPU] = entry.get(CPU, 0) + amount
    return found


def test_what_nobody_was_guaranteed_is_for_all() -> None:
    tree = Tree([Namespace(name="a", **cpus(guaranteed=2))], {CPU: 10})
    assert tree.available(used(), "a", CPU) == 10
    assert tree.available(used(a=3), "stranger", CPU) == 7
    assert tree.available(used(stranger=8), "a", CPU) == 2


def test_only_what_is_guaranteed_is_there_without_a_cluster() -> None:
    tree = Tree([Namespace(name="a", **cpus(guaranteed=2)), Namespace(name="b", **cpus(guaranteed=3))], None)
    assert tree.available(used(), "a", CPU) == 5
    assert tree.available(used(b=3), "a", CPU) == 2


def test_what_is_not_lent_stays() -> None:
    tree = Tree([Namespace(name="a", **cpus(guaranteed=4, lend=1)), Namespace(name="b")], {CPU: 10})
    assert tree.available(used(), "b", CPU) == 7
    assert tree.available(used(b=7), "a", CPU) == 3
    assert tree.available(used(a=4), "b", CPU) == 6


def test_a_limit_and_what_is_borrowed_are_bounds_of_their_own() -> None:
    tree = Tree([Namespace(name="a", **cpus(guaranteed=2, borrow=1)), Namespace(name="b", **cpus(limit=4))], {CPU: 10})
    assert tree.available(used(a=1), "a", CPU) == 2
    assert tree.available(used(b=3), "b", CPU) == 1
    assert tree.available(used(b=5), "b", CPU) == -1, "above a limit that was lowered"


def test_a_bound_above_holds_below() -> None:
    tree = Tree([Namespace(name="org", **cpus(limit=5)), Namespace(name="org/a", **cpus(guaranteed=4))], {CPU: 10})
    assert tree.available(used(org__b=3), "org/a", CPU) == 2
    assert tree.available(used(org__b=3), "org/b", CPU) == 2
    assert tree.available(used(org__b=3), "other", CPU) == 7


def test_who_borrows() -> None:
    tree = Tree([Namespace(name="a", **cpus(guaranteed=2)), Namespace(name="b", **cpus(guaranteed=2))], {CPU: 4})
    one = Resources(((CPU, 1),))
    assert not tree.borrows(used(a=1), "a", one)
    assert tree.borrows(used(a=2), "a", one)
    assert tree.borrows_already(used(a=3), "a", [CPU])
    assert not tree.borrows_already(used(a=2), "a", [CPU])


def test_a_full_cluster_is_nobodys_setting() -> None:
    tree = Tree([Namespace(name="a", **cpus(limit=3))], {CPU: 4})
    one = Resources(((CPU, 1),))
    assert not tree.forbids(used(b=4), "a", one)
    assert tree.forbids(used(a=3), "a", one)
    assert tree.forbids(used(a=3, b=1), "a", one)
