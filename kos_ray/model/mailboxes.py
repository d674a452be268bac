"""Mailboxes: messages that anybody puts and anybody takes, each kept until it was handled; signals are messages too."""

from dataclasses import dataclass

from kos_ray.model.locks import Party

#: of one mailbox: messages (those that are taken or dead too), their bytes together, and ids that are remembered
MESSAGES_MAX = 10_000
BYTES_MAX = 16 * 2**20
SEEN_MAX = 10_000
#: mailboxes, and the bytes of all of them together
BOXES_MAX = 10_000
ALL_BYTES_MAX = 256 * 2**20
#: bytes of one message
VALUE_MAX = 64 * 1024
#: so often a message is handed out before it is dead
DELIVERIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagesPut:
    """Messages came into a mailbox (namespace, NUL, name). An id that it remembers is not among them."""

    box: str
    ids: tuple[str, ...]
    #: pickled values
    values: tuple[bytes, ...]
    by: str = ""
    at_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeAsked:
    """Somebody wants one message, of the first of these mailboxes that has any."""

    ticket: str
    boxes: tuple[str, ...]
    party: Party
    #: how long it stays his if he is not heard
    ttl_ms: int = 30_000
    until_us: int = 0
    #: a message that comes back after so many deliveries is dead
    deliveries: int = DELIVERIES


@dataclass(frozen=True, slots=True, kw_only=True)
class TakesEnded:
    """What was taken was handled and goes, or else goes back to the front; whoever waits does so no more."""

    tickets: tuple[str, ...]
    handled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagesRevived:
    """Somebody wants the dead messages of a mailbox to be handed out again."""

    box: str
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverMessages:
    """Whoever asked gets a message. Columns."""

    tickets: tuple[str, ...]
    boxes: tuple[str, ...]
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndTakes:
    """Nothing came for these in their time."""

    tickets: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuryMessages:
    """These came back as often as they may: they are handed out no more."""

    box: str
    ids: tuple[str, ...]


MailboxEvent = MessagesPut | TakeAsked | TakesEnded | MessagesRevived
MailboxDecision = DeliverMessages | EndTakes | BuryMessages
MAILBOX_EVENTS: tuple[type, ...] = (MessagesPut, TakeAsked, TakesEnded, MessagesRevived)
MAILBOX_DECISIONS: tuple[type, ...] = (DeliverMessages, EndTakes, BuryMessages)
