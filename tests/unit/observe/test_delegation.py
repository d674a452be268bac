"""Who had a message and who declined it, from its story; as a tree in text."""

from kos_ray.model.ids import JobKey
from kos_ray.model.views import JobView, StoryLine
from kos_ray.observe.delegation import Step, delegation, steps, to_text


def line(what: str, **fields: str) -> StoryLine:
    return StoryLine(seq=1, at_us=1, what=what, **fields)  # type: ignore[arg-type]


def view(number: int, name: str = "", parent: str = "") -> JobView:
    return JobView(id=f"j{number}", key=JobKey(number), name=name, type="writer.work", state="succeeded", parent=parent)


STORY = [
    line("submitted"),
    line("assigned", by="ann", reason="least_delay", detail="bob: slower"),
    line("launched"),
    line("declined", detail="kos_ray.model.errors.Decline: unavailable: at lunch"),
    line("assigned", by="bob", reason="stands_by"),
    line("given_back", reason="able_away"),
    line("assigned", by="cat", reason="its_turn"),
    line("succeeded"),
    line("over", reason="succeeded"),
]


def test_each_agent_that_had_it_is_a_step() -> None:
    assert [*steps(view(1), STORY)] == [
        Step(
            agent="ann",
            reason="least_delay",
            others="bob: slower",
            outcome="declined",
            note="unavailable: at lunch",
        ),
        Step(agent="bob", reason="stands_by", outcome="given_back", note="able_away"),
        Step(agent="cat", reason="its_turn", outcome="succeeded"),
    ]
    assert [*steps(view(1), STORY[:2])] == [Step(agent="ann", reason="least_delay", others="bob: slower")]


def test_a_message_for_a_name_has_one_that_declined_it() -> None:
    story = [line("launched"), line("declined", detail="Decline: underqualified")]
    assert [(one.agent, one.outcome, one.note) for one in steps(view(1), story)] == [
        ("writer", "declined", "underqualified")
    ]


def test_the_tree_has_what_was_delegated() -> None:
    children = {"j1": [view(2, "second"), view(3)], "j2": [view(4, "third")]}
    stories = {"j1": STORY, "j4": STORY[:2]}
    found = delegation(view(1, "first"), children, lambda one: stories.get(one.id, []))
    assert to_text(found) == (
        "first  succeeded\n"
        "├─ ann (least delay): declined, unavailable: at lunch  [bob: slower]\n"
        "├─ bob (stands by): given back, able_away\n"
        "├─ cat (its turn): succeeded\n"
        "├─ second  succeeded\n"
        "│  └─ third  succeeded\n"
        "│     └─ ann (least delay): has it  [bob: slower]\n"
        "└─ writer.work  succeeded\n"
    )
