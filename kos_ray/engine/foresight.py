"""Repeat rules of others: they are asked here for their next instants, which enter the state as events.

A question goes out after the frame that calls for it, and again after a restart; its answer is an event of a later
round. So a replay needs no rule, and one that hangs keeps nobody: its schedule stops, paused, and says why.
"""

from collections.abc import Callable, Sequence

from kos_ray.engine.inbox import Reply
from kos_ray.engine.ports import Rules
from kos_ray.model import events as e
from kos_ray.model.schedule import Foreseen, ScheduleForeseen, ScheduleRemoved, ScheduleSet
from kos_ray.scheduler.state import State

#: after one of these of the same round an answer is to another question
_OTHERWISE = (ScheduleSet, ScheduleRemoved, ScheduleForeseen)


class Foresight:
    """Asks, once for each instant behind which something is wanted."""

    def __init__(self, rules: Rules | None, answer: Callable[[Foreseen, Reply], None]) -> None:
        self._rules = rules
        self._answer = answer
        #: by schedule, which rule was asked, and behind which instant
        self._open: dict[str, tuple[str, int]] = {}
        if rules is not None:
            rules.listen(self._heard)

    def _heard(self, found: Foreseen) -> None:
        def over(_: object) -> None:
            self._open.pop(found.key, None)  # where it was refused, for the journal could not write, it is asked again

        self._answer(found, over)

    def ask(self, state: State, now_us: int) -> None:
        """Ask for schedules of which nothing is known."""
        unforeseen = state.schedules.unforeseen
        if not unforeseen and not self._open:
            return
        wanted = {key: (state.schedules.by_key[key].schedule.rules[0], after) for key, after in unforeseen.items()}
        self._open = {key: asked for key, asked in self._open.items() if wanted.get(key) == asked}
        for key, (rule, after_us) in wanted.items():
            if self._rules is not None and key not in self._open:
                self._open[key] = rule, after_us
                self._rules.ask(key, rule, after_us, now_us)


def judged(answer: Foreseen, state: State, before: Sequence[e.Event]) -> Sequence[e.Event]:
    """The event that an answer makes; none where nobody waits for it any more. `before`: of the same round."""
    if state.schedules.unforeseen.get(answer.key) != answer.after_us:
        return ()
    if any(_key_of(event) == answer.key for event in before if isinstance(event, _OTHERWISE)):
        return ()  # it is another rule now, or has been answered: where it is still wanted it is asked again
    schedule = state.schedules.by_key[answer.key].schedule
    if schedule.rules[0] != answer.rule:
        return ()
    within = tuple(at for at in answer.instants if not schedule.end_us or at <= schedule.end_us)
    return (ScheduleForeseen(key=answer.key, instants=within, failed=answer.failed),)


def _key_of(event: ScheduleSet | ScheduleRemoved | ScheduleForeseen) -> str:
    return event.schedule.key if isinstance(event, ScheduleSet) else event.key
