"""Telling somebody: a webhook in the form of Standard Webhooks (https://www.standardwebhooks.com), or a command.

The signature is HMAC-SHA256 over `id.timestamp.body`, in base64 behind `v1,`; a secret is `whsec_` and base64.
"""

import base64
import binascii
import contextlib
import hmac
import secrets
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from kos_ray.model.errors import KosError
from kos_ray.model.job import Notify

_PREFIX = "whsec_"
#: seconds that a receiver, or a command, may take
TIMEOUT_S = 15.0
_SAID_MAX = 300


class NotDelivered(KosError):
    """Nobody has taken it; `final` says that it is of no use to try again."""

    def __init__(self, why: str, *, final: bool = False) -> None:
        super().__init__(why)
        self.final = final


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A receiver that has moved is told to whoever wrote its URL."""

    def redirect_request(self, *_args: object) -> None:
        """No other request is made."""
        return


_OPENER = urllib.request.build_opener(_NoRedirect)


def new_secret() -> str:
    """A secret of 32 random bytes."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`.

    Raises:
        ValueError: it is no secret.

    """
    try:
        key = base64.b64decode(secret.strip().removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("expected a secret such as whsec_ and base64") from error
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, "sha256")
    return "v1," + base64.b64encode(digest).decode()


def deliver(target: Notify, message_id: str, body: bytes, secret: str, now_s: int) -> None:
    """Send once.

    Raises:
        NotDelivered: it was not taken; a receiver that answers 410 wants no more of it.

    """
    if target.command:
        _run(target.command, body)
        return
    headers = {
        "content-type": "application/json",
        "user-agent": "kos_ray",
        "webhook-id": message_id,
        "webhook-timestamp": str(now_s),
        "webhook-signature": sign(secret, message_id, now_s, body),
    }
    request = urllib.request.Request(target.url, data=body, headers=headers, method="POST")
    try:
        with _OPENER.open(request, timeout=TIMEOUT_S):
            return
    except urllib.error.HTTPError as error:
        error.close()
        raise NotDelivered(f"answered {error.code} {error.reason}", final=error.code == 410) from None
    except Exception as error:  # noqa: BLE001 - what a broken receiver sends has no bounds
        why = getattr(error, "reason", None) or error
        raise NotDelivered(f"{type(error).__name__}: {why}") from None


def _run(command: tuple[str, ...], body: bytes) -> None:
    """Run a command with the event on its standard input."""
    try:
        done = subprocess.run(command, input=body, capture_output=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotDelivered(str(error)) from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[-_SAID_MAX:]
        raise NotDelivered(f"exit code {done.returncode}" + (f": {said}" if said else ""))


def own_secret(path: Path) -> str:
    """The secret in a file, which is made where there is none."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8").strip()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    partial.touch(mode=0o600)
    partial.write_text(new_secret() + "\n", encoding="utf-8")
    with contextlib.suppress(FileExistsError):  # of two that make one at once, the first is taken
        path.hardlink_to(partial)
    partial.unlink()
    return path.read_text(encoding="utf-8").strip()
