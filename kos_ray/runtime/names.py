"""Names in Ray's name space, and where things lie."""

import os
import tempfile
from pathlib import Path

RAY_NAMESPACE = "kos_ray"
SCHEDULER = "kos-scheduler"
READER = "kos-reader"
AGENT_PREFIX = "kos-agent-"


def agent_name(node_id: str) -> str:
    """The node agent's actor name."""
    return f"{AGENT_PREFIX}{node_id}"


def node_directory(cluster_id: str, node_id: str) -> Path:
    """A node agent's own directory; short, because a Unix socket's path is."""
    return _directories() / f"{cluster_id[:8]}-{node_id[:12]}"


def node_directories(node_id: str) -> list[Path]:
    """Those of all agents that have been on a node of Ray's, whatever their cluster."""
    return sorted(_directories().glob(f"*-{node_id[:12]}"))


def _directories() -> Path:
    return Path(tempfile.gettempdir()) / "kos_ray"


def default_state_dir() -> Path:
    """Where the journal lies unless somebody says otherwise: `$KOS_STATE_DIR`, else `~/.kos_ray/default`."""
    return Path(os.environ.get("KOS_STATE_DIR") or Path.home() / ".kos_ray" / "default")
