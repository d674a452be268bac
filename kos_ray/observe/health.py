"""What `kos doctor` judges: facts in, findings out, each with what would mend it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kos_ray.model.views import ClusterStatus, Leak, NodeView, SchedulingView
from kos_ray.observe.tables import format_bytes, plugin_text, queue_text, short_node, trouble_remedy

_GIB = 2**30
_PYTHON_MIN = (3, 11)
_RAY_MIN, _RAY_BELOW = (2, 58), (3, 0)
#: file systems that are not on this machine: locks and syncs are not what SQLite needs
NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "glusterfs", "lustre"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at: `level` is ok, warn or bad; `remedy` is empty where all is well."""

    level: str
    subject: str
    text: str
    remedy: str = ""


def _ok(subject: str, text: str) -> Finding:
    return Finding(level="ok", subject=subject, text=text)


def _warn(subject: str, text: str, remedy: str) -> Finding:
    return Finding(level="warn", subject=subject, text=text, remedy=remedy)


def _bad(subject: str, text: str, remedy: str) -> Finding:
    return Finding(level="bad", subject=subject, text=text, remedy=remedy)


def finding_panel(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    """One labelled text a finding, with the remedy on a line of its own."""
    return [
        (f"{one.level:4}  {one.subject}", f"{one.text}\n-> {one.remedy}" if one.remedy else one.text)
        for one in findings
    ]


def versions(package: str, python: str, ray: str) -> list[Finding]:
    """Of this machine; `ray` is "" where it is not installed."""
    found = [_ok("kos_ray", package)]
    if _version(python) < _PYTHON_MIN:
        found.append(_bad("Python", python, "install Python 3.11 or newer"))
    else:
        found.append(_ok("Python", python))
    if not ray:
        found.append(_bad("Ray", "not installed", "pip install 'ray>=2.58,<3'"))
    elif not _RAY_MIN <= _version(ray) < _RAY_BELOW:
        found.append(_bad("Ray", f"{ray}; tested with 2.58 and newer, below 3", "pip install 'ray>=2.58,<3'"))
    else:
        found.append(_ok("Ray", ray))
    return found


def _version(text: str) -> tuple[int, int]:
    major, _, rest = text.partition(".")
    minor = rest.partition(".")[0]
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)


def disk(path: str, free: int, file_system: str, *, writable: bool) -> Finding:
    """The place of the journal."""
    text = f"{path}: {format_bytes(free)} free" + (f", {file_system}" if file_system else "")
    if not writable:
        return _bad("disk", f"{path} cannot be written", "choose another directory with --state, or mend its rights")
    if file_system in NETWORK_FILE_SYSTEMS:
        return _bad("disk", text, "put the state directory on a local disk: the journal needs its locks and syncs")
    if free < _GIB:
        return _bad("disk", text, "make room: when the disk is full nothing is accepted and nothing starts")
    if free < 5 * _GIB:
        return _warn("disk", text, "make room soon: results, logs and the journal grow")
    return _ok("disk", text)


def journal(path: str, size: int, wal: int, problems: Sequence[str] | None) -> list[Finding]:
    """The journal's files; `problems` is None where it was not folded, `size` is less than 0 where there is none."""
    if size < 0:
        return [_ok("journal", f"none yet at {path}; kos up makes one")]
    text = f"{path}, {format_bytes(size)}"
    if problems is None:
        found = [_ok("journal", f"{text}; not folded again, which kos journal verify does")]
    elif problems:
        found = [_bad("journal", f"{text}: {problems[0]}", "kos journal verify says all; restore a copy")]
    else:
        found = [_ok("journal", f"{text}; every frame and row is as it should be")]
    wal_text = f"{format_bytes(wal)} write-ahead log"
    if wal > _GIB:
        found.append(_bad("journal", wal_text, "a reader keeps a transaction open: end old ones, or kos down and up"))
    elif wal > _GIB // 4:
        found.append(_warn("journal", wal_text, "readers that keep transactions open make it grow: end old ones"))
    else:
        found.append(_ok("journal", wal_text))
    return found


def authentication(mode: str, *, own_head: bool, remote: bool) -> Finding:
    """Ray's own door; `mode` is RAY_AUTH_MODE."""
    if own_head:
        return _ok("Ray auth", "token: kos up made one, readable by you alone")
    if mode.lower() == "token":
        return _ok("Ray auth", "token")
    if not remote:
        return _ok("Ray auth", "no cluster yet; kos up starts one with a token")
    return _warn(
        "Ray auth",
        f"RAY_AUTH_MODE is {mode or 'not set'}: whoever reaches the cluster's ports can run code there",
        "start the cluster, and everything that joins it, with RAY_AUTH_MODE=token",
    )


def cluster(status: ClusterStatus) -> list[Finding]:
    """A cluster that answers."""
    alive = [node for node in status.nodes if node.alive]
    lost = [node for node in status.nodes if not node.alive]
    found = [_ok("cluster", f"{status.cluster_id}, epoch {status.epoch}, event {status.seq}")]
    if not alive:
        found.append(_bad("nodes", "none is alive", "add a node: ray start --address HOST:PORT"))
    elif lost:
        names = ", ".join(node.name or short_node(node.id) for node in lost[:3])
        found.append(_warn("nodes", f"{len(alive)} alive, {len(lost)} lost: {names}", "kos nodes says why"))
    else:
        found.append(_ok("nodes", f"{len(alive)} alive"))
    return [*found, *_trouble(status), *(_head(alive) if alive else []), *_scheduling(status.scheduling)]


def _trouble(status: ClusterStatus) -> list[Finding]:
    """A journal that cannot write."""
    reason = status.scheduling.trouble if status.scheduling else ""
    if not reason:
        return []
    text = f"cannot write: {reason}; nothing is accepted and nothing starts"
    return [_bad("journal", text, trouble_remedy(reason, status.state_dir))]


def _scheduling(scheduling: SchedulingView | None) -> list[Finding]:
    """Plug-ins that were disabled, and a queue that is not there."""
    if scheduling is None:
        return []
    found = [_ok("queue", queue_text(scheduling))]
    if scheduling.queue != scheduling.queue_wanted:
        remedy = "kos scheduler set default_queue=sqlite, until this version has the adapter"
        found = [_warn("queue", queue_text(scheduling), remedy)]
    for name, why in scheduling.plugins:
        if why:
            remedy = f"mend it, then kos scheduler set scheduler_mode=plugin:{name}; until then, order is by priority"
            found.append(_warn("plug-in", plugin_text(name, why), remedy))
        else:
            found.append(_ok("plug-in", plugin_text(name, why)))
    return found


def _head(alive: Sequence[NodeView]) -> list[Finding]:
    heads = [node for node in alive if node.head]
    if not heads:
        return [_bad("head", "no living head node", "start the head again: kos up")]
    cpus = dict(heads[0].resources).get("CPU", 0) / 10_000
    if cpus and len(alive) > 1:
        return [
            _warn(
                "head",
                f"{cpus:g} CPUs for work beside {len(alive) - 1} other nodes: jobs there compete with the scheduler",
                "start the head with --num-cpus=0 where other nodes can do the work",
            )
        ]
    if not cpus and len(alive) == 1:
        return [_bad("head", "no CPUs for work, and no other node", "add a node, or start the head with --num-cpus")]
    return [_ok("head", f"{cpus:g} CPUs for work")]


def node_versions(nodes: Sequence[NodeView], package: str) -> list[Finding]:
    """What the agents of living nodes run, against this machine's kos_ray and against the head's Python and Ray."""
    alive = sorted((node for node in nodes if node.alive), key=lambda node: (not node.head, node.name))
    wanted = {"kos_ray": package}
    if alive and alive[0].head:
        wanted |= {name: text for name, text in alive[0].versions if name != "kos_ray"}
    return [_node_version(node, wanted) for node in alive]


def _node_version(node: NodeView, wanted: Mapping[str, str]) -> Finding:
    subject = f"node {node.name or short_node(node.id)}"
    versions = dict(node.versions)
    if not versions:
        return _warn(subject, "its agent tells no versions: it is an older one", "kos down and kos up start it anew")
    wrong = {name: text for name, text in wanted.items() if not _same(name, versions.get(name, ""), text)}
    if not wrong:
        return _ok(subject, ", ".join(f"{name} {text}" for name, text in node.versions))
    text = ", ".join(f"{name} {versions.get(name) or 'unknown'}, expected {wanted[name]}" for name in wrong)
    return _bad(subject, text, "; ".join(_remedy(name, text, node) for name, text in wrong.items()))


def _same(name: str, found: str, wanted: str) -> bool:
    """Code travels between all Pythons of one minor version; the others must be the same to the letter."""
    return _version(found) == _version(wanted) if name == "Python" else found == wanted


def _remedy(name: str, version: str, node: NodeView) -> str:
    """What makes a node run another version."""
    if name == "kos_ray" and node.head:
        return f"pip install kos_ray=={version} there, then kos down and kos up; or install the cluster's version here"
    if name == "Python":
        return f"start the node with Python {version}: code travels between processes of one minor version only"
    return f"pip install {name.lower()}=={version} there, and start the node again"


def leaks(found: Sequence[Leak]) -> list[Finding]:
    """What is left of ours in the Ray cluster that nobody answers for."""
    if not found:
        return [_ok("leaks", "nothing is left behind")]
    return [_leak(leak) for leak in found]


def _leak(leak: Leak) -> Finding:
    where = f" on node {short_node(leak.node)}" if leak.node else ""
    text = f"{leak.kind} {leak.name}{where}: {leak.why}"
    if leak.ended:
        return _ok("leaks", f"{text}; it was ended")
    return _warn("leaks", text, "kos doctor --fix ends it; kos up takes over what is of its own cluster")


def clock(drift_us: int, ahead_us: int) -> list[Finding]:
    """`drift_us`: by how much the wall clock and the monotonic one disagreed just now; `ahead_us`: newest event."""
    remedy = "let chrony or ntpd slew the clock, and not step it"
    found = []
    if abs(drift_us) > 50_000:
        found.append(_warn("clock", f"the wall clock was moved by {drift_us / 1e6:+.3f} s while we looked", remedy))
    else:
        found.append(_ok("clock", "wall and monotonic clock agree"))
    if ahead_us > 1_000_000:
        found.append(_warn("clock", f"the newest event is {ahead_us / 1e6:.0f} s ahead of this clock", remedy))
    return found


def files_limit(limit: int) -> Finding:
    """How many files a process may open: Ray needs many."""
    if 0 <= limit < 4_096:
        return _warn("open files", f"{limit} at most", "ulimit -n 65536 before kos up")
    return _ok("open files", "unlimited" if limit < 0 else f"{limit} at most")


def port(address: str, *, answers: bool) -> Finding:
    """The door of the cluster."""
    if answers:
        return _ok("port", f"{address} takes connections")
    return _bad("port", f"{address} takes no connection", "start the cluster (kos up), or look for a firewall")
