"""The report page: one file that needs nothing from outside and runs no code but its own.

Everything a sweep brought along is escaped by the template. On top of that the page's security policy names its scripts
by their hashes and allows no request at all, so nothing that slipped through could run or call home.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from analysis import (
    assets,
    axes,
    budgets,
    busy,
    derivation,
    endings,
    explained,
    imports,
    measured,
    picking,
    pictures,
    points,
    summary,
    tables,
    warned,
    weaker,
    words,
)
from analysis import progress as progress_of
from analysis import training as training_of
from analysis.advice import advice
from analysis.answers import answers
from analysis.attack_map import attack_map
from analysis.cards import cards
from analysis.comparison import Comparison
from analysis.device_time import DeviceTime
from analysis.figures import frontier_figure, out_of_view
from analysis.option_figure import measure_figure, option_figure, varied
from analysis.search import audit, interactions, made_by
from analysis.search.explained import Explained, explain
from analysis.search.importance_figure import importance_figure
from analysis.sheet import Sheet
from sweeps.record import Snapshot
from sweeps.standing import SELECTION, TEST

_NAMES = {"space_hash": "space hash"}
_SCRIPTS = ("page.js", "page_figures.js", "page_tables.js", "page_search.js", "page_selected.js", "page_begin.js")
_LIVE = "page_live.js"
_PATCH = "page_live_patch.js"


def render(
    df: pd.DataFrame,
    snapshot: Snapshot,
    sheet: Sheet,
    folder: Path,
    comparisons: Mapping[str, Comparison],
    spent: DeviceTime,
    trained: Mapping[int, Mapping[str, Any]] | None = None,
    *,
    live: bool = False,
) -> str:
    """The whole page as HTML.

    Args:
        df: as `analysis.load` gives it.
        snapshot: the record the table was made from.
        sheet: what `sweep.yaml` says.
        folder: the sweep's folder; only its name is shown, and only where the sheet has none.
        comparisons: what verdicts say, by split, where there are any.
        spent: device time.
        trained: epochs of trials, as `training.training` gives them.
        live: whether it is served and renewed: then it may ask for `plotly.js` and the newest page, from where it comes from.
    """
    chosen = comparisons.get(SELECTION)
    decisive = comparisons.get(TEST) or comparisons.get(SELECTION)
    search, progress = explain(df, snapshot, one_list=sheet.one_list), progress_of.progress(df, snapshot)
    taken = weaker.taken(folder, snapshot, SELECTION) if chosen else []
    scripts = [] if live else [assets.asset(get_plotlyjs())]
    scripts += [assets.asset(assets.read(name)) for name in (*_SCRIPTS, *([_PATCH, _LIVE] if live else []))]
    name = sheet.name(folder)
    return _template("template.html").render(
        name=name,
        description=words.value(sheet.space.get("description")),
        subject=axes.subject(snapshot.objectives),
        objectives=list(snapshot.objectives),
        usual=set(snapshot.objectives) == set(axes.USUAL),
        third=axes.third(snapshot.objectives),
        threat=sheet.threat,
        verdict=summary.verdict(df, snapshot.objectives),
        derivation=derivation.sentences(df, snapshot.objectives, spent, chosen.verdicts if chosen else None),
        merits=[*summary.merits(df, snapshot, spent), *busy.merit(folder)],
        answers=answers(df, snapshot, spent, comparisons, advice(df, snapshot.objectives)),
        limit=picking.limit(df, snapshot.objectives),
        facts_of_page=assets.data(
            picking.facts(df, snapshot.objectives, derivation.lines(snapshot, sheet.space, folder))
            | {"progress": progress, "training": trained}
        ),
        progress=None if progress is None else progress_of.said(progress),
        unplaced=0 if progress is None else progress_of.out_of_view(progress),
        trained=training_of.said(df, snapshot.objectives, trained) if trained else None,
        trained_drawn=training_of.drawn(trained or {}),
        weaker=weaker.table(chosen, df, snapshot.objectives, taken, one_list=sheet.one_list)
        if chosen
        else tables.Table([]),
        weaker_said=weaker.said(taken, one_list=sheet.one_list),
        pictured=pictures.of_sweep(folder, snapshot, df, TEST if TEST in comparisons else SELECTION),
        endings=endings.table(df, snapshot.objectives),
        last_lines=endings.last_lines(snapshot),
        warnings=[*summary.warnings(df, snapshot, sheet), *warned.lines(folder)],
        stage=points.stage(df),
        cut=points.cut(df),
        judge=words.judge_name(df),
        selection_set=words.SELECTION_SET,
        unseen=out_of_view(df, snapshot.objectives),
        undrawn=len(df) - len(points.selection_points(df, snapshot.objectives)),
        bounds=bool((df["judging"] == "skipped").any()),
        members=tables.members(df, snapshot.objectives, comparisons),
        neighbours=tables.neighbours(decisive, df, snapshot.objectives) if decisive else tables.Table([]),
        seeds=tables.seeds(comparisons),
        decided="test" if TEST in comparisons else f"the {words.SELECTION_SET}",
        banded=decisive is not None,
        explained=explained.table(df, snapshot),
        flagged=bool((df["flags"] != "").any()),
        trials=tables.trials(df, snapshot.objectives),
        imported=imports.table(snapshot),
        gaps=summary.gaps(df),
        seeds_said=summary.seeds(snapshot),
        attacks=tables.attacks(decisive, df, snapshot.objectives) if decisive else tables.Table([]),
        cards=cards(df, snapshot, folder),
        measured_of_all=bool(measured.of_all(df)),
        options_drawn=bool(varied(df)),
        importance=search.importance is not None,
        why_no_importance=search.why_not,
        together=interactions.table(search.pairs) if search.importance else tables.Table([]),
        together_said=interactions.said(search.pairs),
        made_by=made_by.table(search.members, snapshot.objectives),
        audit=audit.table(search.audited),
        one_list=sheet.one_list,
        points=words.points,
        judging=_judging(df, spent.by_split),
        budget=budgets.facts(sheet.space.get("budget"), snapshot, folder),
        events=snapshot.members,
        provenance=_provenance(sheet),
        fault=sheet.fault,
        versions={str(key): str(value) for key, value in sheet.versions.items()},
        space=yaml.safe_dump(sheet.space, sort_keys=False, allow_unicode=True, width=100) if sheet.space else "",
        written=words.time(datetime.now(UTC).isoformat()),
        figures=_figures(df, snapshot, sheet, decisive, search),
        live=live,
        scripts=scripts,
        style=assets.asset(assets.read("page.css")),
    )


def blank(folder: Path, said: str) -> str:
    """The page that is served where there is no sweep to show: why, and it is renewed once there is.

    Args:
        folder: the sweep's; its name alone is shown.
        said: why; plain text.
    """
    style, script = assets.asset(assets.read("page.css")), assets.asset(assets.read(_LIVE))
    return _template("blank.html").render(name=folder.name, said=said, script=script, style=style)


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["time"] = words.time
    return environment.from_string(assets.read(name))


def figure_title(sheet: Sheet, folder: Path, objectives: Mapping[str, str]) -> str:
    """What stands over the figure where it stands alone."""
    return f"{sheet.name(folder)}: {axes.subject(objectives)}"


def _judging(df: pd.DataFrame, seconds: Mapping[str, float]) -> list[tuple[str, str]]:
    """How the numbers came about, as (name, value)."""
    ways = df["judging"].value_counts()
    images = {split: sorted(set(df[f"{split}_images"].dropna())) for split in ("judged", "test")}
    listed = {split: " or ".join(f"{n:,}" for n in counts) for split, counts in images.items()}
    skipped = df[df["judging"] == "skipped"]
    cut = words.count(int(skipped["dominated_by"].isna().sum()), "trial")
    failed = [("judging failed", words.count(int(ways["failed"]), "trial"))] if "failed" in ways else []
    return [
        ("version", words.judge_name(df) or ("none to its end" if points.cut(df) else "nothing is judged yet")),
        (f"{words.SELECTION_SET}, images", listed["judged"] or "\N{EM DASH}"),
        ("test, images", listed["test"] or "\N{EM DASH}"),
        ("judged in full", words.count(int(ways.get("full", 0)), "trial")),
        ("proven dominated", words.count(int(skipped["dominated_by"].notna().sum()), "trial")),
        *([("cut by constraints", cut)] if skipped["dominated_by"].isna().any() else []),
        ("not judged", words.count(int(ways.get("none", 0)), "trial")),
        *failed,
        (f"device time, {words.SELECTION_SET}", words.duration(seconds[SELECTION])),
        ("device time, test", words.duration(seconds[TEST])),
    ]


def _provenance(sheet: Sheet) -> list[tuple[str, str]]:
    shown = [
        (_NAMES.get(key, key), words.time(words.value(value)) or "\N{EM DASH}") for key, value in sheet.rest.items()
    ]
    if sheet.resumed:
        shown.append(("resumed", ", ".join(_resumed(entry) for entry in sheet.resumed)))
    return shown


def _resumed(entry: Any) -> str:
    """When work went on, and what was different from the start."""
    if not isinstance(entry, dict):
        return words.time(str(entry))
    other = [str(key) for key in entry if key not in ("at", "command")]
    return words.time(str(entry.get("at"))) + (f" (other {', '.join(other)})" if other else "")


def _figures(
    df: pd.DataFrame, snapshot: Snapshot, sheet: Sheet, comparison: Comparison | None, search: Explained
) -> Markup:
    """Both themes of the figures, by the place each has on the page, as one JSON text that no string in it can end early."""
    compared = comparison.trials if comparison else None
    drawn: dict[str, Any] = {
        theme: {
            "frontier": frontier_figure(
                df, objectives=snapshot.objectives, theme=theme, threat=sheet.threat, compared=compared
            ),
            "measures": measure_figure(df, objectives=snapshot.objectives, theme=theme),
            "options": option_figure(df, objectives=snapshot.objectives, theme=theme),
            "attack-map": attack_map(comparison.verdicts, df, objectives=snapshot.objectives, theme=theme)
            if comparison and comparison.verdicts
            else None,
            "importance": importance_figure(search.importance.table, theme=theme) if search.importance else None,
        }
        for theme in ("light", "dark")
    }
    drawn = {
        theme: {place: assets.plain(figure) for place, figure in both.items() if figure is not None}
        for theme, both in drawn.items()
    }
    for place, figure in drawn["dark"].items():
        _share(drawn["light"][place], figure)
    return assets.data(drawn)


def _share(light: Mapping[str, Any], dark: Mapping[str, Any]) -> None:
    """Leaves out of the dark figure's traces what the light one's have as well, and says so under `same`: half of a page."""
    for mine, theirs in zip(dark["data"], light["data"], strict=True):
        mine["same"] = [
            name
            for name, value in mine.items()
            if isinstance(value, list | dict) and value and value == theirs.get(name)
        ]
        for name in mine["same"]:
            del mine[name]
