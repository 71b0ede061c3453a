"""`run_sweep.py SPACE --slurm='--nodes=2 ...'`: the script that runs this very sweep in one allocation of Slurm."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from robustray.errors import UserError, nearest

_OURS = ("--ntasks", "--ntasks-per-node", "-n", "--wrap", "--array", "-a", "--no-requeue", "--signal", "--chdir", "-D")
"""Options of sbatch that would break the script, or that it sets itself."""
_HERE = Path(__file__).parents[1]
_LONG = {"-o": "--output"}
_HEADER = re.compile(r"^#SBATCH (.*)\n", re.MULTILINE)


def script(name: str, asked: str, command: Sequence[str]) -> str:
    """The script, to be handed to `sbatch` as it is.

    Args:
        name: the sweep's. asked: options of sbatch, in one string. command: what to run, `python`, the program, its arguments;
            paths in it are relative to this process's working directory.

    Returns:
        `cluster/slurm.sh` with the options in its head, and the command in its place.

    Raises:
        UserError: the options are none of sbatch's, or such as the script cannot run under.
    """
    given = _options(asked)
    keys = {_LONG.get(key, key) for key in map(_key, given)}
    lines = [f"#SBATCH {_quoted(option)}\n" for option in (f"--job-name={name}", *given)]
    text = _template()
    first = _HEADER.search(text)
    assert first is not None
    about = f"# The sweep {name}: hand this to sbatch. The same script again goes on where the last one stopped.\n"
    head = text[: text.index("\n") + 1] + about + "".join(lines)
    options = "".join(found[0] for found in _HEADER.finditer(text) if _key(found[1]) not in keys)
    body = text[text.rindex("#SBATCH ") :].partition("\n")[2]
    here = shlex.quote(os.getcwd())  # noqa: PTH109  the path as the user sees it
    chosen = [f"cd {here} || exit 2", f"PYTHON={shlex.quote(sys.executable)}", f"set -- {shlex.join(command)}"]
    if path := os.environ.get("PYTHONPATH"):
        chosen.insert(1, f"export PYTHONPATH={shlex.quote(path)}")
    return head + options + "\n".join(chosen) + "\n" + body


def _options(asked: str) -> list[str]:
    """One option each, with what belongs to it."""
    try:
        words = shlex.split(asked)
    except ValueError as error:
        raise UserError(f"--slurm {asked!r}: {error}; options of sbatch in quotes: --slurm='--nodes=2'") from None
    found = list[str]()
    for word in words:
        if word.startswith("-"):
            found.append(word)
        elif found and "=" not in found[-1] and " " not in found[-1]:
            found[-1] += f" {word}"
        else:
            raise UserError(f"--slurm: {word} is no option of sbatch; write --nodes=2, not nodes=2")
    for option in found:
        key = _key(option)
        if key in _OURS:
            raise UserError(f"--slurm: the script sets {key} itself, or cannot run with it; leave it out")
        if "\n" in option or not re.fullmatch(r"--?[a-zA-Z][a-zA-Z0-9-]*", key):
            raise UserError(
                f"--slurm: {option!r} is no option of sbatch; {nearest(key, ['--nodes', '--time', '--partition'])}"
            )
    return found


def _key(option: str) -> str:
    return re.split(r"[= ]", option, maxsplit=1)[0]


def _quoted(option: str) -> str:
    """As a line of the script's head takes it, where Slurm knows quotes."""
    key, sign, value = option.partition("=")
    return option if re.fullmatch(r"[^\s\"']*", value) or not sign else f'{key}="{value}"'


def _template() -> str:
    for folder in (_HERE.parent / "cluster", _HERE / "cluster"):
        if (path := folder / "slurm.sh").exists():
            return path.read_text(encoding="utf-8")
    raise UserError("this installation lacks cluster/slurm.sh; install robustray anew")
