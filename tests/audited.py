"""`UV=uv python -m tests.audited`: pip-audit over the installed packages; where nothing can be asked, it says so and passes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path


def main() -> int:
    """1 where a package has a known weakness; 0 otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.json"
        tool = [os.environ.get("UV", "uv"), "tool", "run", "--quiet", "pip-audit"]  # in an environment of its own
        what = ["--path", sysconfig.get_path("purelib"), "--progress-spinner", "off", "--format", "json"]
        try:
            done = subprocess.run(
                [*tool, *what, "--output", str(found)], capture_output=True, text=True, timeout=600, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            print(f"pip-audit: could not be run ({type(error).__name__}); nothing is known")
            return 0
        try:
            packages = json.loads(found.read_text(encoding="utf-8"))["dependencies"]
        except (OSError, ValueError, KeyError, TypeError):
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            print(f"pip-audit: could not ask ({last[:200]}); nothing is known")
            return 0
    weak = [(each["name"], each.get("version"), each["vulns"]) for each in packages if each.get("vulns")]
    for name, version, known in weak:
        print(f"{name} {version}: {', '.join(each['id'] for each in known)}")
    print(f"pip-audit: {len(packages)} packages, {len(weak)} with known weaknesses")
    return 1 if weak else 0


if __name__ == "__main__":
    sys.exit(main())
