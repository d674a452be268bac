"""Plant bugs, and see which proof finds them: `python -m tests.seeding [--hand|--drawn] [--only NAME] [--resume]`."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.seeding import table
from tests.seeding.bugs import DRAWN, HAND, BadBug, Bug, dump, load
from tests.seeding.draw import draw
from tests.seeding.ladder import ROOT, Copies, Found, simulated, tested, timed

_DRAWN_HEADING = """Bugs drawn by `python -m tests.seeding --draw {count} --seed {seed}`; do not edit.
Those that could not be imported were drawn again."""


def main(arguments: list[str] | None = None) -> int:
    """Plant, and write down what was found; 1 where the proofs fail without a bug, or a bug cannot be planted."""
    parser = argparse.ArgumentParser(prog="python -m tests.seeding", description=__doc__)
    parser.add_argument("--hand", action="store_true", help="those planted by hand alone")
    parser.add_argument("--drawn", action="store_true", help="those drawn alone")
    parser.add_argument("--only", default="", help="bugs with this in their name")
    parser.add_argument("--resume", action="store_true", help="pass over those that stand in the record")
    parser.add_argument("--survivors", action="store_true", help="those alone that the record says nobody found")
    parser.add_argument("--quick", action="store_true", help="the first two steps alone: what is nearest to each bug")
    parser.add_argument("--tests", nargs="+", default=[], help="instead of the ladder, these tests alone")
    parser.add_argument("--seeds", type=int, default=120, help="how many worlds are simulated with each")
    parser.add_argument("--draw", type=int, default=0, help="draw so many anew, and write them down")
    parser.add_argument("--seed", type=int, default=1, help="what they are drawn by")
    parser.add_argument("--table", action="store_true", help="write the table of what is recorded, and no more")
    options = parser.parse_args(arguments)
    if options.table:
        table.write()
        return 0
    with tempfile.TemporaryDirectory(prefix="kos-seeding-") as folder:
        copies = Copies(Path(folder))
        if options.draw:
            return _draw(copies, options.draw, options.seed)
        return _run(copies, _chosen(options), options.seeds, quick=options.quick, tests=options.tests)


def _chosen(options: argparse.Namespace) -> list[Bug]:
    both = options.hand == options.drawn
    bugs = load(HAND) if both or options.hand else []
    bugs += load(DRAWN) if both or options.drawn else []
    chosen = [bug for bug in bugs if options.only in bug.name]
    if not chosen:
        raise BadBug(f"--only: no bug has {options.only!r} in its name")
    if options.survivors:
        last = {(line["name"], line["digest"]): line["by"] for line in table.read()}
        return [bug for bug in chosen if last.get((bug.name, bug.digest)) == ""]
    known = {(line["name"], line["digest"]) for line in table.read()} if options.resume else set()
    return [bug for bug in chosen if (bug.name, bug.digest) not in known]


def _draw(copies: Copies, count: int, seed: int) -> int:
    """Draw until so many can be imported."""
    good: list[Bug] = []
    bad: frozenset[str] = frozenset()
    while len(good) < count:
        good = []
        for bug in draw(ROOT, count, seed, avoid=bad):
            copies.plant(bug)
            imports = copies.imports(bug)
            copies.heal(bug)
            if not imports:
                bad |= {bug.digest}
                break
            good.append(bug)
    DRAWN.write_text(dump(good, _DRAWN_HEADING.format(count=count, seed=seed)), encoding="utf-8")
    _print(f"{len(good)} bugs drawn into {DRAWN.relative_to(ROOT)}, {len(bad)} could not be imported")
    return 0


def _run(copies: Copies, bugs: list[Bug], seeds: int, *, quick: bool, tests: list[str]) -> int:
    for bug in bugs:
        copies.plant(bug)  # all that cannot be are found before the first takes its time
        copies.heal(bug)
    # what tests find is tried without the bug each time
    found = Found("") if tests else simulated(copies.clean, min(seeds, 40))
    found = found if found.by or tests else tested(copies, ("tests/scenarios",), "tests")
    if found.by:
        _print(f"without any bug, the {found.by} failed ({found.test}): what they find now means nothing")
        return 1
    for bug in bugs:
        found, seconds = timed(copies, bug, seeds, quick=quick, tests=tests)
        table.add(bug, found, seconds)
        told = f"{found.by}: {found.test}" if found.by else "SURVIVES"
        _print(f"{bug.name:40} {seconds:6.0f} s  {told}" + (f" (seed {found.seeds})" if found.seeds else ""))
    table.write()
    return 0


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BadBug as error:
        sys.exit(str(error))
