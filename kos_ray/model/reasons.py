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
    NODE_SILENT = 68
    NODE_RETIRES = 69
    OUT_OF_MEMORY = 70
    QUEUE_TIMEOUT = 71
    HEARTBEAT_TIMEOUT = 72
    SCHEDULE_PAUSED = 80
    MISSED = 81
    MISSED_LONG_AGO = 82
    OVERLAP = 83
    FIRE_REFUSED = 84
    THROTTLED = 88
    AGENT_AWAY = 90
    AGENT_BUSY = 91
    CRASH_LOOP = 92
    LOCK_TIMEOUT = 110
    LOCK_DEADLOCK = 111
    LOCK_BROKEN = 112
    LEASE_OVER = 113
    APPROVAL = 114
    APPROVED = 115
    REJECTED = 116
    APPROVAL_TIMEOUT = 117
    PARTY_LOST = 118
    BARRIER_TIMEOUT = 119
    NOBODY_ABLE = 93
    ABLE_AWAY = 94
    ABLE_BUSY = 95
    DECLINED = 96
    ALL_DECLINED = 97
    NOT_TRUSTED = 98
    AGENT_BEFORE = 100
    AGENT_IDLE = 101
    AGENT_CALLED = 102
    AGENT_DONE = 103
    LEAST_DELAY = 104
    PREFERRED = 105
    ITS_TURN = 106
    STANDS_BY = 107
    LACKS_ROLE = 108
    LACKS_CAPABILITY = 109
    LACKS_SKILL = 120
    LACKS_MODEL = 121
    LACKS_CONFIG = 122
    LACKS_METHOD = 123
    SLOWER = 124
    CHOSEN_LATELY = 125
    NO_SUCH_MODEL = 126
    NO_SUCH_SETTING = 127
    NO_SUCH_FILE = 128
    NODE_PRESSED = 130
    MOVED = 131
    SUSPENDED = 132
    NODE_CALM = 133
    REST_OVER = 134

    @property
    def remedy(self) -> str:
        """What would change it, in a sentence for people."""
        return _REMEDY[self]


#: retries for these reasons are no failures of the job
UNCHARGED = (Reason.UNDELIVERED, Reason.NODE_LOST, Reason.DECLINED)
#: attempts that are asked to stop for these reasons end their jobs: they do not go on elsewhere, or later
FOR_GOOD = (Reason.CANCELLED_BY_USER, Reason.PARENT_ENDED, Reason.GANG_ENDED, Reason.AGENT_DONE)

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
    _R.OUT_OF_MEMORY: "it needed more memory than there was, or than `memory_max` lets it have; give it more",
    _R.QUEUE_TIMEOUT: "it had not started within its `queue_timeout`; give it more time, or see what it waited for",
    _R.HEARTBEAT_TIMEOUT: "it said nothing for longer than its `heartbeat_timeout`; call `context().progress` more "
    "often, or see in its logs what holds it up",
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
    _R.NODE_SILENT: "no agent answers of the nodes that would do; starts when one does, or on another node",
    _R.NODE_RETIRES: "starts when the node's agent has been replaced by one of this version, or on another node",
    _R.APART: "starts when jobs that it keeps apart from (or that keep apart from it) leave a node, or on another node",
    _R.NEAR: "starts where a job runs that it wants to be near; none does on a node that would do",
    _R.WINDOW: "starts when a window of its node or namespace opens that is long enough for it",
    _R.DRAINED: "its node is being emptied; it starts again elsewhere, and nothing is charged",
    _R.BATTERY: "starts on a node that is charged, or has more in its battery",
    _R.GPU_MEMORY: "starts when a GPU has as much memory free as it asks for",
    _R.SCHEDULE_PAUSED: "its schedule is paused: `kos schedule resume`; for what was skipped `kos schedule backfill`",
    _R.MISSED: "no scheduler ran when it was due, and `catch_up` starts another fire, or none; `kos schedule backfill`",
    _R.MISSED_LONG_AGO: "it was due longer ago than `window` when a scheduler ran again; `kos schedule backfill`",
    _R.OVERLAP: "a job of an earlier fire was live; `overlap` says what happens then",
    _R.THROTTLED: "so many had fired within the time of its `throttle`; what it was for is in the journal",
    _R.FIRE_REFUSED: "its job was not accepted; see what is said beside it",
    _R.AGENT_AWAY: "starts when the agent that it is for runs; `kos agent get` says how that stands",
    _R.AGENT_BUSY: "starts when the agent that it is for has ended another message: it handles so many at once",
    _R.CRASH_LOOP: "it died so often within a short time (or once, with `reschedule_on_crash: false`) that it is not "
    "started again by itself; see its logs, then `kos agent start`",
    _R.LOCK_TIMEOUT: "somebody else had the lock for as long as it was waited for; wait longer, or see `kos lock get`",
    _R.LOCK_DEADLOCK: "all of them would wait for one another for ever; ask for locks in the same order everywhere",
    _R.LOCK_BROKEN: "somebody took the lock away (`kos lock break`); ask for it again",
    _R.LEASE_OVER: "nothing was heard of who had it for as long as its lease lasts; ask again, or for a longer one",
    _R.APPROVAL: "somebody has to approve it: `kos approve` or `kos reject`; `kos approvals` shows what is asked",
    _R.APPROVED: "somebody approved it; it starts when there is room",
    _R.REJECTED: "somebody rejected it; `kos history` says who, and why",
    _R.APPROVAL_TIMEOUT: "nobody approved or rejected it within the `timeout` of its `approval`; submit it again",
    _R.PARTY_LOST: "a party of the barrier was lost; all leave it, and begin anew, or say `on_loss: go_on`",
    _R.BARRIER_TIMEOUT: "a party has waited for the others as long as it may; see which did not come, or wait longer",
    _R.NOBODY_ABLE: "no agent is what it asks for; register one, or give one the role, capability, model or setting "
    "that is missing",
    _R.ABLE_AWAY: "starts when an agent that is able to do it runs; `kos agent ls` says how those stand",
    _R.ABLE_BUSY: "starts when an agent that is able to do it has ended another message",
    _R.DECLINED: "the agent that it was given to declined it; it goes to the next one, and nothing is charged",
    _R.ALL_DECLINED: "every agent that could have done it has declined it, or the one that was given it, where it is "
    "to be entered at most once; see its error, and `kos graph --delegation`",
    _R.NOT_TRUSTED: "no agent of trust low or experimental handles jobs of bands 0 and 1: `kos agent verify` its "
    "results, or let another one do it",
    _R.AGENT_BEFORE: "the agent starts when those run that are to run before it (`after`)",
    _R.AGENT_IDLE: "it had nothing to do for as long as its `idle_sleep`; it wakes at its next message",
    _R.AGENT_CALLED: "a message woke it",
    _R.AGENT_DONE: "it is an ephemeral agent whose work is done",
    _R.LEAST_DELAY: "it was expected to be done the soonest",
    _R.PREFERRED: "it is preferred (`affinity`), and hardly slower",
    _R.ITS_TURN: "it is as good as the others, and was chosen the longest ago",
    _R.STANDS_BY: "it stands in where nobody else can",
    _R.LACKS_ROLE: "it has not the role",
    _R.LACKS_CAPABILITY: "it has not the capability",
    _R.LACKS_SKILL: "it has not the skill",
    _R.LACKS_MODEL: "it has not the model",
    _R.LACKS_CONFIG: "it is not set up so (`needs: {config: ...}`)",
    _R.SLOWER: "it would have been done later",
    _R.CHOSEN_LATELY: "it is as good, and was chosen more lately",
    _R.NO_SUCH_MODEL: "label a node that has the model (`kos node label NODE model.NAME=yes`), or ask for another one",
    _R.NO_SUCH_SETTING: "set the environment variable where the nodes' processes begin, or ask for less "
    "(`needs: {config: ...}`); it is tried again, where it was given up after `kos agent start`",
    _R.NO_SUCH_FILE: "bring the file to a node, or ask for less (`needs: {files: ...}`); it is tried again, where it "
    "was given up after `kos agent start`",
    _R.NODE_PRESSED: "too much is used of the nodes that would do (`rebalance`); starts when one is calm again",
    _R.MOVED: "its node was pressed (`rebalance`); it goes on where there is more room, and nothing is charged",
    _R.SUSPENDED: "its node was pressed (`rebalance`) and no other had room; goes on when one has, or it is calm",
    _R.NODE_CALM: "the node from which it was moved is calm, and has enough for it",
    _R.REST_OVER: "it has rested long enough since it was moved (`rebalance: {rest: ...}`)",
    _R.LACKS_METHOD: "its class has no such method",
    _R.BEHIND_LONG_ATTEMPT: "it stood behind a long attempt; it waits again at its old place",
}
