#!/usr/bin/env bash
# Makes the virtual environment of a source tree and installs kos_ray into it, editable, with what its tests need.
# Uses uv where it runs, else venv and pip. Writes to the environment's folder only; caches stand in it, so that HOME
# may be empty or read-only.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv}

suitable() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2])' >/dev/null 2>&1; }

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.12 python3.11 python3.13 python3; do
        if [[ -n $candidate ]] && suitable "$candidate"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
}

python=$(find_python)
# a shim of another Python's uv may be on the path and yet not run
if uv --version >/dev/null 2>&1; then has_uv=1; else has_uv=; fi

if [[ -z $python && -z $has_uv ]]; then
    echo "Python 3.11 or later is needed, and neither python3.11+ nor uv is on the path" >&2
    exit 1
fi

if ! suitable "$venv/bin/python"; then
    rm -rf "$venv"
    if [[ -n $has_uv ]]; then
        uv venv --quiet --no-cache --python "${python:-3.12}" "$venv"
    elif ! "$python" -m venv "$venv"; then
        rm -rf "$venv"
        echo "$python cannot make virtual environments: install its venv package (python3-venv), or uv" >&2
        exit 1
    fi
fi

# only now: uv makes its cache at once, and refuses to make an environment in a folder that is there
export UV_CACHE_DIR=${UV_CACHE_DIR:-$PWD/$venv/cache/uv}
# certificates that the machine trusts, as pip and git do
export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-true}
export PIP_CACHE_DIR=${PIP_CACHE_DIR:-$PWD/$venv/cache/pip}
if [[ -n $has_uv ]]; then
    uv pip install --quiet --python "$venv/bin/python" --editable '.[dev]'
else
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
fi
"$venv/bin/python" -c 'import kos_ray'
