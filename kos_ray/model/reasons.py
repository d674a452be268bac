"""Every "why" has a reason from a closed set, and every reason says what would change it."""

from enum import IntEnum


class Reason(IntEnum):
    """Why a decision was taken, or why a job waits. Stored in journals: never renumber."""

    NONE = 0
    DEPENDENCY = 1
    DEPENDENCY_NEVER_MET = 2
    NO_ROOM = 3
    NEVER_FITS = 4
    NO_NODES = 5
    RETRY_LATER = 7
    TAKEN_BY_OTHERS = 8
    HELD_BY_USER = 9
    NO_LICENCE = 10
    NO_SUCH_LICENCE = 11
    CONCURRENCY = 12
    RATE_LIMIT = 13
    QUOTA = 14
    ABOVE_QUOTA = 15
    ROOM_BEING_MADE = 16
    KEPT_FOR_OTHERS = 17
    ARRAY_LIMIT = 18
    AGENT_LIMIT = 19
    GANG_NO_ROOM = 50
    GANG_INCOMPLETE = 51
    SUCCEEDED = 20
    USER_ERROR = 21
    TIMEOUT = 22
    CRASHED = 23
    UNPREPARED = 24
    NODE_LOST = 25
    LOSSES_EXHAUSTED = 27
    CANCELLED_BY_USER = 28
    ENTERED_AT_MOST_ONCE = 29
    SKIPPED_BY_RULE = 30
    TOO_MANY_FAILED = 31
    PARENT_ENDED = 32
    ORDER_ASKED = 33
    NOT_RETRYABLE = 34
    RETRY_TIME_OVER = 35
    POISON = 36
    IDLE = 40
    ROOM_WANTED = 41
    RECALLED = 42
    UNDELIVERED = 43
    BEHIND_LONG_ATTEMPT = 44
    PAUSED_BY_USER = 45
    PREEMPTED = 46
    RECLAIMED = 47
    ROTATED = 48
    NEVER_DELIVERED = 49
    GANG_ENDED = 52
    GANG_RESTARTED = 53
    NO_NODE_MATCHES = 60
    CORDONED = 61
    APART = 62
    NEAR = 63
    WINDOW = 64
    DRAINED = 65
    GPU_MEMORY = 66
    BATTERY = 67

    @property
    def remedy(self) -> str:
        """What would change it, in a sentence for people."""
        return _REMEDY[self]


_R = Reason
_REMEDY: dict[Reason, str] = {
    _R.NONE: "nothing holds it",
    _R.DEPENDENCY: "starts when the jobs it depends on have ended as asked",
    _R.DEPENDENCY_NEVER_MET: "a job it depends on ended otherwise; rerun that job, then submit this one again",
    _R.SKIPPED_BY_RULE: "its rule does not let it run after how the jobs before it ended; that may be as it should be",
    _R.TOO_MANY_FAILED: "so many items of its array failed that the rest was given up; rerun those that are missing",
    _R.PARENT_ENDED: "the job that submitted it is over, and its children end with it (`children: cancel`)",
    _R.NO_ROOM: "starts when running work ends, or when a node with room joins",
    _R.GANG_NO_ROOM: "starts when so many of its gang fit at once: when running work ends, or nodes with room join",
    _R.GANG_INCOMPLETE: "starts when so many members of its gang may start; see what the others wait for",
    _R.GANG_ENDED: "a member of its gang is over without success, and the gang with it; see that member's error",
    _R.GANG_RESTARTED: "too few members of its gang were left; all of them start again together, nothing is charged",
    _R.NEVER_FITS: "no node is large enough even when empty; ask for less or add a larger node",
    _R.NO_NODES: "the cluster has no usable node; add one",
    _R.RETRY_LATER: "starts again when its backoff is over",
    _R.TAKEN_BY_OTHERS: "other Ray work holds the room; tried again after a pause",
    _R.HELD_BY_USER: "somebody holds it; release it",
    _R.SUCCEEDED: "it is done",
    _R.USER_ERROR: "its code raised or its command exited with another code than 0; see its error and logs",
    _R.NOT_RETRYABLE: "its code raised what is not to be tried again; see its error",
    _R.RETRY_TIME_OVER: "its next attempt would start later than `max_elapsed` of its `retry` allows; see its error",
    _R.POISON: "so many processes died under it that it is what kills them (`poison_after`); see its logs, `kos dlq`",
    _R.TIMEOUT: "it ran longer than its timeout; raise the timeout or make it shorter",
    _R.CRASHED: "the process that ran it died; see its logs (memory is the usual cause)",
    _R.UNPREPARED: "its code or arguments could not be loaded on the node; see its error",
    _R.NODE_LOST: "the node that ran it was lost; it runs again elsewhere if its guarantee allows",
    _R.LOSSES_EXHAUSTED: "too many nodes were lost under it; it may be what kills them",
    _R.CANCELLED_BY_USER: "somebody cancelled it; rerun it",
    _R.ENTERED_AT_MOST_ONCE: "an at-most-once job is never entered twice; submit it again if that is safe",
    _R.IDLE: "nothing of its kind waited; the reservation went back to the node",
    _R.ROOM_WANTED: "another job needed the room; it waits again at its old place",
    _R.RECALLED: "it was taken back before it ran and waits again at its old place",
    _R.UNDELIVERED: "the message that started it was lost; it waits again at its old place",
    _R.NEVER_DELIVERED: "no node could take the message that starts it; see the scheduler's and the agent's logs",
    _R.PAUSED_BY_USER: "somebody paused it; resume it, and it starts again",
    _R.NO_LICENCE: "starts when a job that holds a licence it needs ends",
    _R.NO_SUCH_LICENCE: "the cluster has fewer licences of the kind than it needs; ask for fewer, or set `licences`",
    _R.CONCURRENCY: "starts when a job with the same concurrency key ends",
    _R.ARRAY_LIMIT: "starts when another item of its array ends: so many of them run at once",
    _R.AGENT_LIMIT: "starts when another agent ends: so many of them run at once (`max_concurrent_agents`)",
    _R.RATE_LIMIT: "starts when its rate limit allows the next one",
    _R.QUOTA: "starts when its namespace uses less, or with a higher limit",
    _R.ABOVE_QUOTA: "its namespace may never use so much; ask for less, or raise the limit",
    _R.ORDER_ASKED: "starts when the plug-in that orders its namespace has said where it stands, or is found wanting",
    _R.ROOM_BEING_MADE: "starts when the jobs that were asked to make room for it have done so",
    _R.KEPT_FOR_OTHERS: "starts when the jobs before it have started; room is being kept for them",
    _R.PREEMPTED: "a more urgent job needed the room; it waits again at its old place, and nothing is charged",
    _R.RECLAIMED: "a namespace needed what is guaranteed to it; it waits again at its old place, nothing is charged",
    _R.ROTATED: "its time slice was over and an equal waited; it goes on from what it saved",
    _R.NO_NODE_MATCHES: "no node that is large enough has the labels or the name it asks for; see `kos node ls`",
    _R.CORDONED: "nothing new starts on the nodes that would do; `kos node uncordon` lets it",
    _R.APART: "starts when jobs that it keeps apart from (or that keep apart from it) leave a node, or on another node",
    _R.NEAR: "starts where a job runs that it wants to be near; none does on a node that would do",
    _R.WINDOW: "starts when a window of its node or namespace opens that is long enough for it",
    _R.DRAINED: "its node is being emptied; it starts again elsewhere, and nothing is charged",
    _R.BATTERY: "starts on a node that is charged, or has more in its battery",
    _R.GPU_MEMORY: "starts when a GPU has as much memory free as it asks for",
    _R.BEHIND_LONG_ATTEMPT: "it stood behind a long attempt; it waits again at its old place",
}
