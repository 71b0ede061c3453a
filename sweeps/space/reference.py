"""The pages of docs/reference, from the same fields as the YAML schema: `make reference` writes them.

`python -m sweeps.space.reference my_defense.py` prints the page of a plugin's parts.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from robustray import plugins, registry, words
from robustray.attacks.threats import Threat
from robustray.errors import told_in_one_line
from robustray.files import write_whole
from robustray.judge import Judge
from robustray.measures.base import Measure
from robustray.measures.metrics import METRICS
from robustray.registry import Options, Part, kinds, name_of, parts
from robustray.trial import TrialConfig
from sweeps.space import Sweep
from sweeps.space.budget import Budget
from sweeps.space.disk import Disk
from sweeps.space.distributions import MEANING, OF_A_PRIOR, PRIOR
from sweeps.space.listening import Listeners, MLflow, Prometheus, TensorBoard, WandB
from sweeps.space.measuring import Measuring
from sweeps.space.resources import Resources
from sweeps.space.searching import Search
from sweeps.space.space import SHARED, Bound
from sweeps.space.stopping import Stopping

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
MEASURES = FOLDER.parent / "measures.md"
_TABLE = re.compile(r"(?<=<!-- measures: written by `make reference` -->\n).*?(?=<!-- end of measures -->)", re.DOTALL)
SECTIONS: dict[str, type[Options]] = {
    "sweep": Sweep,
    "judge": Judge,
    "trial": TrialConfig,
    "threat": Threat,
    "measuring": Measuring,
    "constraints": Bound,
    "search": Search,
    "budget": Budget,
    "stopping": Stopping,
    "resources": Resources,
    "listeners": Listeners,
    "prometheus": Prometheus,
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WandB,
    "disk": Disk,
}
"""The file's own keys that hold options, as `--explain` knows them."""
TERMS = {kind: f"A distribution; below it stands {meaning}." for kind, meaning in MEANING.items()} | {
    PRIOR: f"Beside a distribution: {OF_A_PRIOR}.",
    **{name: f"A metric, for `objectives` and `constraints`: {metric.meaning}." for name, metric in METRICS.items()},
}
"""What else a file is written in, as `--explain` knows it."""
OF_THE_JUDGE = "the judge's"
"""The default of what a training threat leaves out."""
_NOTE = "<!-- Written by `make reference` from the fields of the options. Change those. -->\n\n"


def pages() -> dict[str, str]:
    """Every page by its file name."""
    written = {"search_space.md": _search_space(), "judge.md": _section("judge"), "trial.md": _trial()}
    written |= {f"{kind}.md": _kind(kind) for kind in kinds()}
    written["README.md"] = _index()
    return {name: _NOTE + text for name, text in written.items()}


def measures_page() -> str:
    """docs/measures.md, with the table of all measures as it is now."""
    lines = ["| measure | what it is | unit | better |", "|---|---|---|---|"]
    for name, cls in parts("measure").items():
        assert issubclass(cls, Measure)
        better = {"max": "more", "min": "less"}.get(cls.better or "", "neither")
        about = (sys.modules[cls.__module__].__doc__ or words.docstring(cls)).partition("\n")[
            0
        ]  # one file, one measure
        first = _cell(about).rstrip(".")
        lines.append(f"| [{name}](reference/measure.md#{name}) | {first} | {cls.unit} | {better} |")
    table = "\n".join(lines) + "\n"
    return _TABLE.sub(lambda _: table, MEASURES.read_text(encoding="utf-8"))


def write() -> None:
    """Writes the pages and the table of measures, and removes pages of kinds that are gone."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    new = pages()
    for old in FOLDER.glob("*.md"):
        if old.name not in new:
            old.unlink()
    for name, text in new.items():
        write_whole(FOLDER / name, text)
    write_whole(MEASURES, measures_page())


def of_plugins(names: Sequence[str]) -> Iterator[str]:
    """The lines of a page of the parts that plugins bring; raises as `plugins.named`."""
    for plugin in plugins.loaded(plugins.named(names, Path.cwd()).values()):
        yield from (f"# {plugin.name}", "")
        for cls in plugin.parts:
            yield from _part(cls)


def _index() -> str:
    lines = [
        "# Reference",
        "",
        "Every option with its values, its default and what it means. `python run_sweep.py --explain NAME` prints the same.",
        "",
        "- [The search space](search_space.md), [the judge](judge.md), [a trial](trial.md)",
    ]
    lines += [
        f"- [{kind}]({kind}.md): {', '.join(f'[{name}]({kind}.md#{name})' for name in parts(kind))}" for kind in kinds()
    ]
    return "\n".join(lines) + "\n"


def _search_space() -> str:
    own = [option for option in words.options(Sweep) if not option.name.startswith("judge.")]
    bounds = [
        words.Option(f"constraints.METRIC.{option.name}", option.values, option.default, option.description)
        for option in words.options(Bound)
    ]
    return "\n".join(
        [
            "# The search space",
            "",
            words.docstring(Sweep),
            "",
            *_table([*own, *bounds]),
            "",
            "## Distributions",
            "",
            "Any value inside `trial` may be a mapping with one of these keys. Names of parameters are dotted paths; inside a",
            "choice the path carries the branch: `defense.trades.beta`. Two branches of one name need a `label`.",
            "",
            "| distribution | what stands under it |",
            "|---|---|",
            *(f"| `{kind}` | {_cell(meaning)} |" for kind, meaning in MEANING.items()),
            "",
            f"Beside it may stand `{PRIOR}`: {OF_A_PRIOR}.",
            "",
            "```yaml",
            "defense: {choice: [{name: trades, beta: {loguniform: [0.5, 20], prior: 6}}, natural], prior: trades}",
            "```",
            "",
            "## Metrics",
            "",
            "What `objectives` and `constraints` may name, besides the [measures](measure.md) that `measures` has.",
            "",
            "| metric | what it is |",
            "|---|---|",
            *(f"| `{name}` | {_cell(metric.meaning)} |" for name, metric in METRICS.items()),
            "",
        ]
    )


def _section(name: str) -> str:
    cls = SECTIONS[name]
    return "\n".join([f"# {name}", "", words.docstring(cls), "", *_table(words.options(cls)), ""])


def _trial() -> str:
    own = [option for option in words.options(TrialConfig) if option.name.partition(".")[0] not in SHARED]
    own = [replace(each, default=OF_THE_JUDGE) if each.name in ("threat.norm", "threat.eps") else each for each in own]
    about = "The keys of `trial` in a search space; the judge stands beside it. In the trial.yaml of one model, they stand at"
    return "\n".join(["# trial", "", about, "the top, with `judge` and `plugins` among them.", "", *_table(own), ""])


def _kind(kind: str) -> str:
    return "\n".join([f"# {kind}", "", *(line for cls in parts(kind).values() for line in _part(cls))])


def _part(cls: type[Part]) -> Iterator[str]:
    first, rest = words.opening(cls)
    yield from (f"## {name_of(cls)}", "", first, "")
    if rest.strip():
        yield from ("```text", rest.strip("\n"), "```", "")
    yield from (*_table(words.options(cls)), "")
    cost = words.cost(cls)
    if cost:
        yield from (f"Cost: {cost}.", "")
    yield from ("```yaml", words.example(cls), "```", "")


def _table(options: list[words.Option]) -> Iterator[str]:
    if not options:
        yield "No options."
        return
    yield from ("| option | values | default | meaning |", "|---|---|---|---|")
    for option in options:
        default = option.default if option.default in (words.REQUIRED, OF_THE_JUDGE) else f"`{option.default}`"
        yield f"| `{option.name}` | {_cell(option.values)} | {_cell(default)} | {_cell(option.description)} |"


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


if __name__ == "__main__":
    with told_in_one_line():
        if sys.argv[1:]:
            print("\n".join(of_plugins(sys.argv[1:])))
        else:
            registry.without_installed()
            write()
