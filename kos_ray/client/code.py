"""Code bundles: the local modules that a job's function needs, as one content-addressed zip."""

import hashlib
import io
import os
import sys
import sysconfig
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from kos_ray.model.errors import InvalidSpec

FILES_MAX = 2_000
BYTES_MAX = 32 * 2**20
_SKIPPED = frozenset({"__pycache__", "node_modules", "build", "dist", "venv", "site-packages"})
_SUFFIXES = frozenset({".py", ".pyi", ".json", ".yaml", ".yml", ".toml", ".txt", ".csv", ".sql"})
#: the same date in every zip, so that the same content has the same hash
_DATE = (1980, 1, 1, 0, 0, 0)
#: folders that every node has
_INSTALLED = tuple(
    str(Path(path).resolve()) for path in {*sysconfig.get_paths().values(), str(Path(__file__).resolve().parents[1])}
)

#: nanoseconds within which two changes may have the same time: kernels tell it by their clock's ticks
_TICK_NS = 50_000_000

_Stamp = tuple[str, int, int]
_LookedAt = dict[str, tuple[int, int]]


class _Bundle(NamedTuple):
    """A folder's code, as it was when it was looked through."""

    files: list[_Stamp]
    hash: str
    data: bytes
    #: folders and files by path, with size and time of the last change (of a folder: when something came or went);
    #: empty where one changed at about that time, as it may change again at what counts as the same instant
    looked_at: "_LookedAt"

    def stands(self) -> bool:
        """Whether nothing has changed since, for a fraction of what looking through the folder costs."""
        try:
            return bool(self.looked_at) and all(_state(os.stat(at)) == was for at, was in self.looked_at.items())  # noqa: PTH116
        except OSError:
            return False


class Bundles:
    """Bundles of folders. A folder is read again only when one of its files has changed."""

    def __init__(self) -> None:
        self._known: dict[Path, _Bundle] = {}
        self._modules = 0
        self._folder: Path | None = None

    def of_imports(self) -> tuple[str, bytes]:
        """The bundle of the importing project's folder, `("", b"")` where no local module has been imported."""
        folder = self._project()
        return self.of_folder(folder) if folder else ("", b"")

    def _project(self) -> Path | None:
        """See `project_folder`; modules are looked through again only when new ones were imported."""
        count = len(sys.modules)
        if count != self._modules:
            self._modules, self._folder = count, project_folder()
        return self._folder

    def of_folder(self, folder: Path) -> tuple[str, bytes]:
        """SHA-256 and zip of a folder's code.

        Raises:
            InvalidSpec: the folder is not there, or too large.

        """
        known = self._known.get(folder)
        if known is not None and known.stands():
            return known.hash, known.data
        begun_ns = time.time_ns()
        files, looked_at = _files(folder)
        if any(changed_ns > begun_ns - _TICK_NS for changed_ns, _ in looked_at.values()):
            looked_at = {}
        if known is None or known.files != files:
            data = _zip(folder, [name for name, _, _ in files])
            known = _Bundle(files, hashlib.sha256(data).hexdigest(), data, looked_at)
        self._known[folder] = known._replace(looked_at=looked_at)
        return known.hash, known.data


def project_folder() -> Path | None:
    """The folder that local modules were imported from: where the program lies, else the working directory.

    None when nothing was imported from there: then a function travels alone.
    """
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    folder = (Path(main).parent if main else Path.cwd()).resolve()
    if str(folder).startswith(_INSTALLED):
        return None
    modules = [module for name, module in sys.modules.items() if name != "__main__"]
    return folder if any(_lies_in(module, folder) for module in modules) else None


def folder_of(entry: str, folders: Iterable[Path]) -> Path | None:
    """The first of the folders that holds the module of an entry point ("module:function"), None where none does."""
    module = entry.partition(":")[0].replace(".", "/")
    for folder in folders:
        if (folder / f"{module}.py").is_file() or (folder / module / "__init__.py").is_file():
            return folder.resolve()
    return None


def _lies_in(module: ModuleType, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    if not file or not file.startswith(f"{folder}/") or file.startswith(_INSTALLED):
        return False
    return not any(part in _SKIPPED or part.startswith(".") for part in Path(file).relative_to(folder).parts)


def _state(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_mtime_ns, stat.st_size


def _files(folder: Path) -> tuple[list[_Stamp], _LookedAt]:
    """Name, time of the last change and size of each file that goes along, by name; and all that was looked at."""
    if not folder.is_dir():
        raise InvalidSpec(f"code: expected a folder, found {folder}")
    found: list[_Stamp] = []
    looked_at: _LookedAt = {}
    pending = [""]
    # Strings and one scan a folder instead of path objects: this may run at every submission.
    while pending:
        below = pending.pop()
        path = f"{folder}/{below}"
        looked_at[path] = _state(os.stat(path))  # noqa: PTH116
        if below and os.access(f"{path}pyvenv.cfg", os.F_OK):
            continue
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name
                if name in _SKIPPED or name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    pending.append(f"{below}{name}/")
                elif os.path.splitext(name)[1] in _SUFFIXES and entry.is_file():  # noqa: PTH122
                    state = looked_at[path + name] = _state(entry.stat())
                    found.append((below + name, *state))
        if len(found) > FILES_MAX:
            raise InvalidSpec(f"code: {folder} has more than {FILES_MAX} files: name a smaller folder as the code's")
    return sorted(found), looked_at


def _zip(folder: Path, names: list[str]) -> bytes:
    buffer = io.BytesIO()
    size = 0
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name in names:
            content = (folder / name).read_bytes()
            size += len(content)
            if size > BYTES_MAX:
                raise InvalidSpec(
                    f"code: {folder} has more than {BYTES_MAX} bytes: name a smaller folder as the code's"
                )
            bundle.writestr(zipfile.ZipInfo(name, _DATE), content)
    return buffer.getvalue()
