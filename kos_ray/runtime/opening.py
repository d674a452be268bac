"""How the scheduler comes by its journal."""

import logging
import sqlite3
import time
import uuid
from pathlib import Path

from kos_ray.journal import home
from kos_ray.journal.place import REFUSALS
from kos_ray.journal.store import Journal

_log = logging.getLogger("kos_ray.scheduler")
#: seconds between tries where the disk refuses
_AGAIN_S = 8.0


def open_journal(state_dir: Path, *, adopt: bool) -> tuple[Journal, str]:
    """The journal, and its new cluster id where it is a copy that was adopted just now, else "".

    Tried for as long as the disk refuses: Ray starts no actor again that raises.

    Raises:
        JournalUnusable: see `Journal.open`; or it is a copy, and not to be adopted.

    """
    while True:
        try:
            return _opened(state_dir, adopt=adopt)
        except (sqlite3.OperationalError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in REFUSALS:
                raise
            _log.error("the journal cannot be opened: %s; trying again", error)
            time.sleep(_AGAIN_S)


def _opened(state_dir: Path, *, adopt: bool) -> tuple[Journal, str]:
    journal = Journal.open(state_dir)
    try:
        adopted = home.settle(journal.connection, state_dir, uuid.uuid4().hex if adopt else "")
    except BaseException:
        journal.close()
        raise
    if not adopted:
        return journal, ""
    journal.close()
    journal = Journal.open(state_dir)
    _log.warning("the journal is a copy, and adopted: it belongs to cluster %s from now on", journal.cluster_id)
    return journal, journal.cluster_id
