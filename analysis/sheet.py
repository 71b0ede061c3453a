"""What `sweep.yaml` says of a sweep: its space, versions, commit, host and command. Everything in it may be missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from robustray.options.recorded import recorded

SHEET = "sweep.yaml"


@dataclass(frozen=True)
class Sheet:
    """The parts of `sweep.yaml` a report shows, each of the expected type or empty."""

    space: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)
    resumed: list[Any] = field(default_factory=list)
    rest: dict[str, Any] = field(default_factory=dict)  # space_hash, commit, host, created, command ... as they stand
    fault: str = ""  # why there is nothing, for people

    @property
    def judge(self) -> Mapping[str, Any]:
        """The space's `judge`."""
        return _mapping(self.space.get("judge"))

    @property
    def threat(self) -> str:
        """What the judge attacks under, such as `linf, eps 8/255`; "" where it is not known."""
        return threat_in_words(_mapping(self.judge.get("threat")))

    @property
    def one_list(self) -> bool:
        """Whether the images a trial is tuned on are the images it is judged on: no room was left for two lists."""
        held_out, judged = _mapping(self.judge.get("data")).get("validation"), None
        images = self.judge.get("images")
        judged = images.get("validation") if isinstance(images, dict) else images
        if isinstance(held_out, int) and isinstance(judged, int):
            return judged >= held_out
        return judged == "all"

    def name(self, folder: Path) -> str:
        """The sweep's name, which is also its folder's."""
        return str(self.space.get("name") or folder.absolute().name)


def read(folder: Path) -> Sheet:
    """A sweep's sheet; an empty one that says why where there is none to read. Never raises for what is in it."""
    try:
        content = recorded((folder / SHEET).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Sheet(fault=f"there is no {SHEET} in this folder")
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return Sheet(fault=f"{SHEET} cannot be read")
    if not isinstance(content, dict):
        return Sheet(fault=f"{SHEET} holds no mapping")
    resumed = content.get("resumed")
    return Sheet(
        space=dict(_mapping(content.get("space"))),
        versions=dict(_mapping(content.get("versions"))),
        resumed=resumed if isinstance(resumed, list) else [],
        rest={str(key): value for key, value in content.items() if key not in ("space", "versions", "resumed")},
    )


def threat_in_words(threat: Mapping[str, Any]) -> str:
    """`linf, eps 8/255`; "" where nothing is known."""
    eps = threat.get("eps")
    parts = [str(threat["norm"])] if "norm" in threat else []
    if eps is not None:
        parts.append(f"eps {_fraction(eps)}")
    return ", ".join(parts)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _fraction(eps: Any) -> str:
    """Radii in pixels are written in 255ths, as papers do, where they are whole ones."""
    if isinstance(eps, float) and abs(eps * 255 - round(eps * 255)) < 1e-6 and eps * 255 > 0.5:
        return f"{round(eps * 255)}/255"
    return str(eps)
