"""The Ray that a sweep starts for itself, and the cluster that RAY_ADDRESS names instead: which it is, and how it is set up."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable, Mapping

OWN: Mapping[str, str] = {
    "RAY_AUTH_MODE": "token",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}
"""Environment of a sweep's own Ray, before ray is imported. Who talks to it needs a token. And no other machine can: the
second variable makes it a Ray of one machine, as Ray is on Windows and macOS by itself, so that every one of its ports, those
of the metrics servers included, listens on 127.0.0.1 alone."""

_CONNECTION = re.compile(r"auth|token|connect|unavailable|unreachable|refused|timed? ?out|deadline", re.IGNORECASE)
_ERROR = re.compile(r"[\w.]*(?:Error|Exception|Status): (?=\S)")


def cluster(environment: Mapping[str, str] = os.environ) -> str | None:
    """The address of the user's own cluster; None where a sweep starts a Ray, as it does for `local` too."""
    address = environment.get("RAY_ADDRESS", "").strip()
    return None if address in ("", "local") else address


def environment(given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a sweep adds to its environment for its own Ray. On the user's cluster his own environment decides."""
    return dict(OWN) if cluster(given) is None else {}


def exposed(hosts: Iterable[str], given: Mapping[str, str] = os.environ) -> str | None:
    """What to say of a cluster that other machines reach and that may ask for no token; None where it is none of both.

    Args:
        hosts: addresses of its nodes.
    """
    beyond = sorted({host for host in hosts if not _loopback(host)})
    if not beyond or given.get("RAY_AUTH_MODE", "").lower() == "token":
        return None
    return (
        f"the cluster listens beyond this machine ({beyond[0]}) and RAY_AUTH_MODE is not token here: whoever reaches its ports "
        "runs code as you, and can change results; set it to token on every node, see docs/security.md"
    )


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refused(error: BaseException, address: str | None, given: Mapping[str, str] = os.environ) -> str:
    """Why Ray could not be started, or the cluster at an address not be reached, in one line: the cause, then a hint.

    The hint is about tokens: it belongs to a cluster that was given, and to causes that may have to do with them.
    """
    said = cause(error)
    told = f"cannot start on {f'the cluster at {address}' if address else 'a local Ray'}: {said}"
    if address is None or not _CONNECTION.search(said):
        return told
    mode = given.get("RAY_AUTH_MODE")
    here = f"RAY_AUTH_MODE is {mode} here" if mode else "RAY_AUTH_MODE is not set here"
    return f"{told} ({here}: is it that of the cluster, and the token the same?)"


def cause(error: BaseException) -> str:
    """The line of an exception that says what went wrong. Ray puts that of another process last, after its traceback."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    within = [line for line in lines[1:] if _ERROR.match(line)]
    line = _ERROR.sub("", within[-1], count=1) if within else lines[0]
    return line.partition(" Note: ")[0].rstrip(" .:")
