"""What parties do together: its events and decisions in one place, for those who handle all of them alike."""

from kos_ray.model.approval import ApprovalsAnswered, JudgeApprovals
from kos_ray.model.barriers import BARRIER_DECISIONS, BARRIER_EVENTS, BarrierDecision, BarrierEvent, BarrierJoined
from kos_ray.model.locks import LOCK_DECISIONS, LOCK_EVENTS, LockAsked, LockDecision, LockEvent
from kos_ray.model.mailboxes import MAILBOX_DECISIONS, MAILBOX_EVENTS, MailboxDecision, MailboxEvent, TakeAsked

CoordinationEvent = LockEvent | MailboxEvent | BarrierEvent | ApprovalsAnswered
CoordinationDecision = LockDecision | MailboxDecision | BarrierDecision | JudgeApprovals
COORDINATION_EVENTS: tuple[type, ...] = (*LOCK_EVENTS, *MAILBOX_EVENTS, *BARRIER_EVENTS, ApprovalsAnswered)
COORDINATION_DECISIONS: tuple[type, ...] = (*LOCK_DECISIONS, *MAILBOX_DECISIONS, *BARRIER_DECISIONS, JudgeApprovals)

#: events that bring a ticket under a lease
Leased = LockAsked | TakeAsked | BarrierJoined
