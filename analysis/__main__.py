"""`python -m analysis`: what a sweep means."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from analysis.deciding import commands as deciding
from analysis.elsewhere import Swept
from analysis.papers import commands as papers
from analysis.search import commands
from robustray.errors import UserError, told_in_one_line

_WIDE = 200
app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Read a running or finished sweep.",
)


class PictureFormat(StrEnum):
    """Formats of pictures."""

    png = "png"
    svg = "svg"
    pdf = "pdf"
    none = "none"


Formats = Annotated[
    list[PictureFormat],
    typer.Option("--format", help="of pictures, which take a browser; several times for several, none for none"),
]
PNG = [PictureFormat.png]


class JudgedSplit(StrEnum):
    """Images that models were judged on."""

    test = "test"
    validation = "validation"


class ToyName(StrEnum):
    """Small arguments of the papers."""

    score = "score"
    splines = "splines"
    separation = "separation"
    landscape = "landscape"


class RadiusForm(StrEnum):
    """Forms of a certified radius."""

    smoothing = "smoothing"
    lipschitz = "lipschitz"


@app.command()
def report(
    folder: Swept,
    png: Annotated[bool, typer.Option(help="draw frontier.png, which takes a browser")] = True,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="write nothing: serve the page to browsers on this machine, renewed as the sweep runs"
        ),
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="of --watch; 0 is a free one")] = 0,
) -> None:
    """Write FOLDER/report/: index.html, frontier.csv, trials.csv and frontier.png. Or serve it while the sweep runs."""
    if watch:
        from analysis.live import place
        from analysis.live import watch as live

        if not folder.is_dir():
            raise UserError(f"{folder}: no sweep here; name the folder of one, results/NAME")
        live.needs()
        with place.listening(port) as at:
            typer.echo(f"{place.address(at)}  (Ctrl-C ends it; the sweep goes on)")
            live.watch(folder, at)
        return

    from analysis.report import publish

    written = publish(folder, picture=png)
    for note in written.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(written.index)


@app.command()
def compare(
    folders: Annotated[
        list[Path], typer.Argument(help="one sweep's folder, two sweeps or more, or two models' judgements")
    ],
    split: Annotated[JudgedSplit, typer.Option(help="validation is the selection set")] = JudgedSplit.test,
    csv: Annotated[Path | None, typer.Option(help="write all numbers into this file too", show_default=False)] = None,
    published: Annotated[
        list[str] | None,
        typer.Option(
            help="of sweeps: published frontiers beneath, cifar10:linf or cifar10:linf:resnet18", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="of sweeps: write page, figures and tables into this folder", show_default=False)
    ] = None,
    formats: Formats = PNG,
) -> None:
    """Compare the trials of a sweep or two models, image by image, or the frontiers of sweeps."""
    from analysis.frontiers import commands as frontiers

    if frontiers.are_sweeps(folders):
        frontiers.compare(folders, split.value, csv, published or [], out, formats=formats)
        return
    from rich.console import Console

    from analysis import printed
    from analysis.comparison import compare as compared

    if published or out:
        raise UserError("--published and --out go with two sweeps or more")
    if len(folders) > 2:
        raise UserError(f"{folders[2]}: compare takes sweeps alone, however many, or two models' judgements")
    other = folders[1] if len(folders) > 1 else None
    found = compared(folders[0], other, split=split.value)
    # Where nobody watches there is no width to keep to.
    Console(width=None if sys.stdout.isatty() else _WIDE).print(printed.pair(found) if other else printed.trials(found))
    if csv is not None:
        found.to_csv(csv, index=other is not None)
        typer.echo(csv)


@app.command()
def measures(
    folder: Swept,
    csv: Annotated[Path | None, typer.Option(help="write all numbers into this file too", show_default=False)] = None,
) -> None:
    """Print what the space's `measures` found of the frontier's members."""
    from rich.console import Console

    from analysis import collect, explained, measured, printed
    from robustray.errors import UserError
    from sweeps import record
    from sweeps.record import provenance

    snapshot = record.read(folder)
    df = collect.table(snapshot)
    found = explained.table(df, snapshot)
    if not found.rows:
        take = provenance.again(folder, "--set", "measures=[lipschitz]")
        raise UserError(f"{folder}: no member is measured yet; take a measure with: {take}")
    Console(width=None if sys.stdout.isatty() else _WIDE).print(printed.of_page(found))
    if csv is not None:
        df.loc[df["member"], ["trial", *measured.columns(snapshot)]].to_csv(csv, index=False)
        typer.echo(csv)


@app.command()
def certified(
    folder: Annotated[Path, typer.Argument(help="a folder that `python -m robustray certify` wrote")],
    form: Annotated[RadiusForm, typer.Option(help="how radii follow from counts")] = RadiusForm.smoothing,
    formats: Formats = PNG,
) -> None:
    """Write FOLDER/radii.html and a picture of it: certified accuracy over the radius."""
    from analysis.certified import publish

    written = publish(folder, form=form.value, formats=formats)
    for note in written.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(written.page)


@app.command()
def correlate(
    table: Annotated[Path, typer.Argument(help="a CSV with a header: a report's trials.csv, a paper's table")],
    x: Annotated[str, typer.Option(help="a column")],
    y: Annotated[str, typer.Option(help="another one")],
    csv: Annotated[Path | None, typer.Option(help="write the numbers into this file too", show_default=False)] = None,
) -> None:
    """Say how two columns of a table go together: Pearson, Spearman, Kendall."""
    from rich.console import Console

    from analysis import printed
    from analysis.correlation import of_table

    found = of_table(table, x, y)
    Console(width=None if sys.stdout.isatty() else _WIDE).print(printed.correlation(found))
    if csv is not None:
        found.to_csv(csv)
        typer.echo(csv)


@app.command()
def fooling(
    folder: Annotated[Path, typer.Argument(help="a measurement that kept predictions (measure --save-predictions)")],
    other: Annotated[Path | None, typer.Argument(help="another one, of the same images", show_default=False)] = None,
    perturbed: Annotated[
        bool, typer.Option("--perturbed", help="the images of one are perturbed copies of the other's")
    ] = False,
    csv: Annotated[Path | None, typer.Option(help="write all numbers into this file too", show_default=False)] = None,
) -> None:
    """Say how often predictions change: under an attack, or from one model or set of images to another."""
    from rich.console import Console

    from analysis import fooling as kept

    found = kept.fooling(folder, other, perturbed=perturbed)
    Console(width=None if sys.stdout.isatty() else _WIDE).print(kept.printed(found))
    if csv is not None:
        found.to_csv(csv, index=False)
        typer.echo(csv)


@app.command()
def picture(
    folder: Swept,
    trial: Annotated[int | None, typer.Option(help="put a ring around this trial", show_default=False)] = None,
    published: Annotated[
        str | None,
        typer.Option(help="published models beneath: cifar10:linf, or cifar10:linf:resnet18", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option(help="the file to write: .png, .svg or .pdf")] = Path("frontier.png"),
) -> None:
    """Draw a sweep's frontier, with one trial marked or published models beneath it."""
    from analysis import marked
    from analysis import picture as drawn
    from analysis.report import SIZE

    drawn.kind_of(out)  # before the record is read
    drawn.save(marked.of_sweep(folder, trial, published), out, *SIZE)
    typer.echo(out)


@app.command()
def published(
    data: Annotated[str, typer.Option(help="cifar10, cifar100, imagenet or tiny_imagenet")],
    threat: Annotated[str, typer.Option(help="linf or l2")] = "linf",
    architecture: Annotated[
        str | None,
        typer.Option(help="a class: resnet18, preact_resnet18, wide_resnet-28-10, transformer, convnext, other ..."),
    ] = None,
    source: Annotated[str | None, typer.Option(help="robustbench or fastat; default: both")] = None,
    frontier: Annotated[bool, typer.Option("--frontier", help="only models that no other one dominates")] = False,
    csv: Annotated[Path | None, typer.Option(help="write the table into this file", show_default=False)] = None,
) -> None:
    """Print published results: RobustBench's leaderboard and the FastAT Benchmark, the most robust first."""
    from typing import cast

    from rich.console import Console

    from analysis import printed
    from analysis.published import tables

    found = tables.table(data, threat, architecture=architecture, source=cast("tables.Source | None", source))
    if frontier:
        found = tables.frontier(found)
    Console(width=None if sys.stdout.isatty() else _WIDE).print(printed.published(found))
    if csv is not None:
        found.to_csv(csv, index=False)
        typer.echo(csv)


@app.command()
def curve(
    folders: Annotated[list[Path], typer.Argument(help="what measure --epochs wrote, or a folder that holds such")],
    formats: Formats = PNG,
) -> None:
    """Write curve.html and a picture of it into the first FOLDER: measures over the epochs of a training."""
    from analysis.curve import publish

    written = publish(folders, formats=formats)
    for note in written.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(written.page)


@app.command()
def toy(
    name: Annotated[
        ToyName,
        typer.Argument(
            help="score: robust risks and a known posterior; splines: a staircase fitted robustly; separation: distances "
            "between classes of digits; landscape: the loss around weights"
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="where tables and figures go; default: results/toys/NAME", show_default=False)
    ] = None,
) -> None:
    """Compute and draw one of the papers' small arguments, about a minute: CSV, HTML, PNG, SVG and PDF."""
    from analysis.toys import publish

    drawn = publish(name.value, out or Path("results/toys") / name.value)
    for note in drawn.notes:
        typer.echo(f"note: {note}", err=True)
    for path in drawn.files:
        typer.echo(path)


deciding.add(app)
commands.add(app)
papers.add(app)


def main() -> None:
    """Runs a command; what the user can mend is one line on stderr and exit code 2."""
    with told_in_one_line(OSError):
        app()


if __name__ == "__main__":
    main()
