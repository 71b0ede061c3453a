"""Errors that are the user's to mend: one clear line, exit code 2, never a traceback."""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import io
import sys
from collections.abc import Iterable, Iterator

from robustray import astray, home
from robustray.plain import plain

_NO_HOME = "Could not determine home directory."
"""What pathlib says of `~NAME/data`; `~` alone has a home in every command."""


class UserError(Exception):
    """Something in a YAML file, a flag or a folder that the user can put right. The message is the whole story."""


class DiskFull(UserError):
    """A disk has no room, for now: what was at work goes on once there is some."""


class Diverged(Exception):
    """Training left the finite numbers."""


class Paused(Exception):
    """Training was asked to stop between two steps; a checkpoint of that moment is on disk."""


class ProcessLost(Exception):
    """One of the processes that train a model together is gone: what they were at goes on from its last checkpoint."""


class NotFinite(ValueError):
    """A model under attack, or its gradients, left the finite numbers: the sign of a NaN would be no step at all."""


@contextlib.contextmanager
def told_in_one_line(*kinds: type[Exception]) -> Iterator[None]:
    """What surrounds a command line: UserError, and what else is the user's to mend, becomes one line and exit code 2.

    Whoever has no home gets one first: packages that are loaded inside look for theirs there.

    So does a package that is not installed: each command imports only what it needs, so most work where some are missing.
    And one of ours in whose place a user's was found.
    """
    mendable: tuple[type[Exception], ...] = (UserError, *kinds)
    home.settle()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(
            stream, io.TextIOWrapper
        ):  # a terminal in latin-1 or ASCII, a name in no encoding: said as escapes
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    except mendable as error:
        message = str(error)
    except RuntimeError as error:
        if str(error) != _NO_HOME:
            raise
        message = "a path begins with ~NAME, but no user of that name is known here: write the folder out"
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if (elsewhere := astray.told(package)) is not None:
            message = elsewhere
        elif isinstance(error, ModuleNotFoundError) and package and importlib.util.find_spec(package) is None:
            message = f"the package {package} is not installed; with it the same command goes on"
        else:
            raise  # a part that a package lacks, or a bug of ours
    else:
        return
    print(f"error: {plain(message)}", file=sys.stderr)
    sys.exit(2)


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean 'beta'?` where a known word is close, else the list of known words."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known) or 'none'}"
