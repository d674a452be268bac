"""How often typical shapes fit, what a start takes away of that, and which node is taken for it."""

from kos_ray.model.job import SlotKind
from kos_ray.model.resources import UNIT, Resources
from kos_ray.model.where import Selector
from kos_ray.scheduler.fragments import Face, Fragments, Shape, times_in, workload
from kos_ray.scheduler.machine import step
from tests.scenarios.language import Play

HALF, ONE, TWO = (Resources.of({"CPU": 4, "GPU": gpus}) for gpus in (0.5, 1, 2))


def _face(cpus: float, *gpus: float, **labels: str) -> Face:
    there = [round(gpu * UNIT) for gpu in gpus]
    return Face({"CPU": round(cpus * UNIT), "GPU": sum(there)}, there, labels)


def test_how_often_vectors_fit() -> None:
    free, there = {"CPU": 20 * UNIT}, [UNIT, UNIT, UNIT * 7 // 10, UNIT * 4 // 10]
    # three halves would have room on whole GPUs alone; two times a whole one; once two whole ones
    assert times_in(free, there, [HALF, ONE, TWO]) == [5_000, 2_000, 1_000]
    # CPU runs short: parts of a time count
    assert times_in({"CPU": 6 * UNIT}, there, [HALF, ONE, TWO]) == [1_500, 1_500, 1_000]
    assert times_in({}, there, [ONE]) == [0]


def test_what_a_start_takes_away() -> None:
    shapes = [Shape(HALF), Shape(ONE)]
    face = _face(64, 1, 0.5)
    face.know(shapes)
    assert face.slots == [3_000, 1_000]
    # half of a GPU goes where one is broken into already
    assert face.loss(HALF, shapes) == [1_000, 0]
    assert face.loss(ONE, shapes) == [2_000, 1_000]
    assert face.loss(TWO, shapes) is None
    # what wants no GPU takes the CPU that the GPUs need
    assert face.loss(Resources.of({"CPU": 60}), shapes) == [2_000, 0]


def test_labels_that_a_node_does_not_have() -> None:
    shapes = [Shape(ONE, (Selector("gpu", ("A",)),)), Shape(ONE)]
    for model, slots in (("A", [1_000, 1_000]), ("B", [0, 1_000])):
        face = _face(64, 1, gpu=model)
        face.know(shapes)
        assert face.slots == slots


def test_scarce_shapes_weigh_more() -> None:
    """Two nodes for two GPUs in one piece, ten for one: the same number of jobs of each."""
    play = Play()
    play.do([f"node a{number} cpu=64 gpu=2" for number in range(2)])
    play.do([f"node b{number} cpu=64 gpu=1" for number in range(10)])
    fragments = Fragments()
    one, two = fragments.refresh(play.state, {Shape(ONE): 5, Shape(TWO): 5})
    assert two > 7 * one, "2 slots are left for the one, 14 for the other"


def test_what_is_derived_as_things_change_is_what_is_found_anew() -> None:
    play = Play()
    play.do(["node a cpu=64 gpu=4", "node b cpu=8 gpu=2", "node c cpu=8 gpu=2 gpu:X"])
    lines = [
        "submit j x3 cpu=2 gpu=0.5 strategy=fgd single",
        "submit k cpu=1 gpu=1 on=gpu:X strategy=fgd single",
        "node d cpu=16 gpu=1",
        "end j.0",
        "submit l x2 cpu=4 gpu=2 strategy=fgd single",
        "lost a",
        "submit m cpu=4 strategy=fgd single",
    ]
    for line in lines:
        verb, *words = line.split()
        step(play.state, [getattr(play, f"_{verb}")(*words)], play.now_us)  # the state stays the same one
        jobs = workload(play.state)
        kept, fresh = play.state.fragments, Fragments()
        found, anew = kept.refresh(play.state, jobs), fresh.refresh(play.state, jobs)
        for shape in jobs:
            there, here = kept.number_of(shape), fresh.number_of(shape)
            assert found[there] == anew[here], line
            for node in play.state.nodes.values():
                assert kept.face_of(node).slots[there] == fresh.face_of(node).slots[here], line
    assert len(jobs) == 3


def test_fractions_are_packed_as_they_came() -> None:
    """0.4 and 0.4 share a device, so that 0.6 and 0.6 have one each: packed by size two devices would do."""
    play = Play()
    play.do(["node a cpu=64 gpu=3", "submit s x2 gpu=0.4 single", "submit l x2 gpu=0.6 single"])
    play.do(["submit w gpu=1 single"])
    assert play.state.nodes["a"].lanes  # type: ignore[index]
    assert SlotKind(resources=Resources.of({"GPU": 1}), single_use=True) not in play.state.nodes["a"].lanes  # type: ignore[index]
