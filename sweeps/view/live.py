"""The view of a running sweep on a terminal: a frame of any width and height, drawn from what is known at one moment.

Pure: nothing here reads a clock, a file or the record. `terminal.py` puts frames on a screen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from robustray.measures.metrics import ACCURACIES, METRICS, duration, figures
from robustray.plain import plain
from sweeps.view.activity import Run, Standing
from sweeps.view.chart import ASCII, MARKS, Marks, Member, chart
from sweeps.view.outlook import Outlook
from sweeps.view.overview import Overview
from sweeps.view.places import Place
from sweeps.view.words import about, clock, short, trainings

Mood = Literal["at work", "stopping", "over"]
"""Whether a signal has come, and whether this is the frame that stays."""
_LABEL = 10  # columns for a line's name
_NARROW = 60  # columns below which there is no room for the chart
_ROOMY = 110  # columns from which there is room for more than the need
_EVENTS = 5
_EVENTS_ROOMY = 8
_LOWEST, _TALLEST = 5, 24  # lines of the chart
_BAR = 16
_OUTCOMES: Mapping[str, tuple[str, str]] = {
    "complete": ("complete", "green"),
    "stopped": ("stopped", ""),
    "diverged": ("diverged", "red"),
    "failed": ("failed", "red"),
    "out_of_memory": ("out of memory", "red"),
}


@dataclass(frozen=True)
class Frame:
    """All that a view shows. Times in seconds."""

    name: str
    objectives: Sequence[str]
    where: str  # `2 at a time on Ray`; "" before it is known
    slots: int
    dashboard: str | None
    logs: Sequence[str]  # paths, the most useful first
    elapsed: float
    until: float | None  # a deadline, from now
    overview: Overview
    outlook: Outlook
    left: float | None  # of all that is known, smoothed
    runs: Sequence[Run]
    standing: Mapping[tuple[int, str], Standing]
    params: Mapping[int, Mapping[str, Any]]  # options of trials at work
    now: float  # of the clock that runs' times are from
    shard_size: int | None
    events: Sequence[str]
    mood: Mood
    budget: str = ""  # what is spent of it
    worked: float = 0.0  # in all lives of the driver, where `elapsed` is this one's

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = max(1, options.height or console.height - 1)
        drawn = _Drawing(self, options.max_width, ASCII if options.ascii_only else MARKS)
        for line in drawn.lines(height):
            line.no_wrap = True
            line.truncate(options.max_width, overflow="crop" if options.ascii_only else "ellipsis")
            yield line


class _Drawing:
    def __init__(self, frame: Frame, width: int, marks: Marks) -> None:
        self.frame = frame
        self.width = width
        self.marks = marks
        self.roomy = width >= _ROOMY
        self.dot = " \N{MIDDLE DOT} " if marks.braille else ", "

    def lines(self, height: int) -> Iterator[Text]:
        """The frame: numbers on top, logs at the bottom, and between them what there is room for."""
        top = [self._head(), *self._trials(), *self._points(), *self._judging(), *self._costs()]
        bottom = list(self._foot())
        room = height - len(top) - len(bottom)
        least = 1 + _LOWEST  # an event and the lowest chart
        most = max(1, min(room // 4, max(2, room - _EVENTS - _LOWEST - 3), room - least - 3))  # the three rules
        at_work = min(max(self.frame.slots, len(self.frame.runs), 1), most)
        at_work = 0 if self.frame.mood == "over" or at_work >= room else at_work
        room -= at_work + 1 if at_work else 0
        events = max(0, min(_EVENTS_ROOMY if room >= 24 else _EVENTS, room - 1))
        if least + 2 <= room < events + _LOWEST + 2:
            events = room - _LOWEST - 2
        plot = min(_TALLEST, room - events - 2)
        yield from top[:height]
        if at_work:
            speed = self.frame.overview.images_per_second
            yield self._rule("at work", f"training at {figures(speed)} images/s" if speed else "")
            yield from self._at_work(at_work)
        if plot >= _LOWEST:
            yield self._rule(*self._frontier_title())
            yield from self._frontier(plot)
        if events:
            yield self._rule("events")
            yield from self._events(events)
        yield from bottom[: max(0, height - len(top))]

    # On top.

    def _head(self) -> Text:
        frame = self.frame
        left = Text.assemble((plain(frame.name), "bold"), (f"   {plain(frame.where)}" if frame.where else "", "dim"))
        right = Text(f"{'ran' if frame.mood == 'over' else 'running'} for {clock(frame.elapsed)}")
        if frame.until is not None and frame.mood == "at work":
            right.append(f"{self.dot}stops in {clock(frame.until)}", "yellow")
        if frame.mood == "stopping":
            right = Text("stopping; every step is kept ...", "bold yellow")
        space = self.width - left.cell_len - right.cell_len
        return left.append(" " * max(3, space)).append_text(right)

    def _trials(self) -> Iterable[Text]:
        seen = self.frame.overview
        ended = sum(seen.outcomes.values())
        share, parts = ended / max(1, seen.wanted), [Text(f"{ended:,} of {seen.wanted:,} ended", "bold")]
        if seen.spent is not None:
            share, parts = seen.spent / seen.budget, [Text(f"{trainings(seen.spent, seen.budget)} spent", "bold")]
        if self.roomy:
            parts[0] = Text.assemble(_bar(share, self.marks), " ", parts[0])
        parts.append(Text(f"{seen.training:,} running", "cyan" if seen.training else ""))
        if seen.spent is None or seen.paused:
            parts.append(Text(f"{seen.waiting:,} waiting" if seen.spent is None else f"{seen.paused:,} paused"))
        if seen.taken_up:
            parts.append(Text(f"{seen.taken_up:,} taken up again"))
        for outcome, (words, style) in _OUTCOMES.items():
            count = seen.outcomes.get(outcome, 0)
            if count or outcome == "complete":
                aside = f" ({seen.infeasible:,} infeasible)" if outcome == "complete" and seen.infeasible else ""
                parts.append(Text(f"{count:,} {words}{aside}", style if count else ""))
        return self._wrapped("trials", parts)

    def _points(self) -> Iterable[Text]:
        """How far points are, once it is known how many there will be."""
        seen = self.frame.overview.points
        if not seen.wanted:
            return []
        ended = seen.complete + seen.failed
        now = f"deriving {ended + 1:,} of {seen.wanted:,}" if seen.running else f"{ended:,} of {seen.wanted:,} made"
        parts = [Text(now, "cyan" if seen.running else "bold")]
        parts += [Text(f"{seen.failed:,} failed", "red")] if seen.failed else []
        return self._wrapped("points", parts)

    def _judging(self) -> Iterable[Text]:
        known = self.frame.overview.judgements
        if known is None:
            return self._wrapped("judging", [Text("none: judge.trials is none")])
        parts = [Text(f"{known.in_full:,} in full", "green" if known.in_full else "")]
        parts.append(Text(f"{known.skipped:,} skipped with proof"))
        if known.cut:
            parts.append(Text(f"{known.cut:,} cut by constraints"))
        states = ((known.running, "running", "cyan"), (known.waiting, "waiting", ""))
        trouble = ((known.failed, "failed", "red"), (known.flagged, "flagged", "red"))
        parts += [Text(f"{count:,} {words}", style) for count, words, style in (*states, *trouble) if count]
        if known.members:
            parts.append(Text(f"test: {known.tested:,} of {known.members:,} members read", "green"))
        return self._wrapped("judging", parts)

    def _costs(self) -> Iterable[Text]:
        seen, ahead = self.frame.overview, self.frame.outlook
        known = [
            seconds for seconds in (ahead.training, ahead.deriving, ahead.judging, ahead.test) if seconds is not None
        ]
        parts = [Text(time_left(self.frame.left, ahead), "bold")]
        if seen.device_seconds:
            left = f", {about(sum(known))} left" if ahead.training is not None and sum(known) > 0 else ""
            parts.append(Text(f"{duration(seen.device_seconds)} of device time{left}"))
        yield from self._wrapped("time", parts)
        if self.frame.budget:
            yield from self._wrapped("budget", [Text(part) for part in self.frame.budget.split(", ")])

    def _wrapped(self, label: str, parts: Iterable[Text]) -> Iterator[Text]:
        """Parts behind a label, on as many lines as they need."""
        line = Text(f"{label:<{_LABEL}}", "dim")
        begun = False
        for part in parts:
            if begun and line.cell_len + len(self.dot) + part.cell_len > self.width:
                yield line
                line, begun = Text(" " * _LABEL), False
            line = Text.assemble(line, (self.dot, "dim") if begun else "", part)
            begun = True
        yield line

    # Between.

    def _rule(self, title: str, aside: str = "") -> Text:
        line = self.marks.floor
        text = Text.assemble((f"{line}{line} ", "dim"), (title, "bold"), " ")
        if aside and text.cell_len + len(aside) + 4 <= self.width:
            text.append(f"{line}{line} ", "dim").append(f"{aside} ")
        return text.append(line * max(0, self.width - text.cell_len), "dim")

    def _at_work(self, lines: int) -> Iterator[Text]:
        runs = sorted(self.frame.runs, key=lambda run: (run.job.work["kind"] != "train", run.job.number, run.job.name))
        shown = runs if len(runs) <= lines else runs[: lines - 1]
        for run in shown:
            yield self._run(run)
        if len(shown) < len(runs):
            yield Text(f"and {len(runs) - len(shown):,} more", "dim")
        elif not runs:
            yield Text("nothing", "dim")
        for _ in range(lines - max(1, len(shown) + (len(shown) < len(runs)))):
            yield Text("")

    def _run(self, run: Run) -> Text:
        kind, number = run.job.work["kind"], run.job.number
        text = Text(f"{number:04d}  ", "bold")
        if kind == "train":
            self._training(text, run)
        elif kind == "judge":
            self._shard(text, run)
        elif kind == "derive":
            text.append("deriving", "cyan").append(f"  {short(self.frame.params.get(number, {}))}", "dim")
        elif kind == "explain":
            text.append("measuring", "cyan").append(f"  {run.job.work['name']} on {run.job.work['split']}", "dim")
        else:
            text.append("finding out how many images fit into memory")
        if self.roomy:
            text.append(" " * max(2, self.width - text.cell_len - 10)).append(
                f"{clock(self.frame.now - run.since):>8}", "dim"
            )
        return text

    def _training(self, text: Text, run: Run) -> None:
        result = run.result
        if result:
            epoch, epochs = int(result.get("epoch", 0)), int(result.get("epochs", 0))
            done = f"{'look' if run.job.work.get('look') else 'epoch'} {epoch}/{epochs}"
            if self.roomy:
                text.append_text(_bar(epoch / max(1, epochs), self.marks)).append(" ")
            text.append(f"{done:<14}", "cyan")
            text.append(f"{_measured(result):<24}")
        else:
            text.append("starting", "cyan")
        options = short(self.frame.params.get(run.job.number, {}))
        text.append(f"  {options}" if options else "", "dim")

    def _shard(self, text: Text, run: Run) -> None:
        work = run.job.work
        split, shard = str(work.get("split")), int(work.get("shard", 0))
        standing = self.frame.standing.get((run.job.number, split))
        size = self.frame.shard_size
        of = f" of {-(-standing.images // size)}" if standing is not None and size else ""
        text.append(f"{work.get('attack')}", "magenta").append(f" on shard {shard + 1}{of} of {split}")
        if standing is not None:
            text.append(f"   {standing.standing:,} of {standing.images:,} stand after {standing.attack}")

    def _frontier_title(self) -> tuple[str, str]:
        seen = self.frame.overview
        judged = sum(place.judged for place in seen.frontier)
        cheap = len(seen.frontier) - judged
        title = f"frontier so far: {judged:,} judged {self.marks.judged}, {cheap:,} by cheap attack {self.marks.cheap}"
        return title, "" if seen.volume is None else f"hypervolume {seen.volume:.3f} from 0"

    def _frontier(self, height: int) -> Iterator[Text]:
        """The chart, and beside it the members; the members alone where there is no room for both."""
        seen = self.frame.overview
        wide = min(100, self.width * 45 // 100)
        if self.width < _NARROW:
            yield from self._members(height)
            return
        members = [
            Member(place.values[ACCURACIES[0]], place.values[ACCURACIES[1]], place.judged)
            for place in seen.frontier
            if all(name in place.values for name in ACCURACIES)
        ]
        plot = chart(members, seen.others, wide, height, self.marks)
        for left, right in zip(plot, self._members(height), strict=True):
            yield Text.assemble(left, " " * (wide + 2 - left.cell_len), right)

    def _members(self, height: int) -> Iterator[Text]:
        """A header and a line per member, `height` lines in all."""
        seen = self.frame.overview
        tested = self.roomy and any(place.tested for place in seen.frontier)
        others = [name for name in self.frame.objectives if name not in ACCURACIES]
        names = [*ACCURACIES, *others]
        header = [_header(name) for name in names]
        if tested:
            header += [f"test {_header(name)}" for name in ACCURACIES]
        yield Text(f"  trial  {'  '.join(header)}  options", "dim")
        shown = _spread(seen.frontier, height - 1)
        for place in shown:
            mark = self.marks.judged if place.judged else self.marks.cheap
            more = f"x{len(place.numbers)}" if len(place.numbers) > 1 else ""
            numbers = [_value(name, place.values) for name in names]
            numbers += [_value(name, place.tested) for name in ACCURACIES] if tested else []
            cells = "  ".join(f"{number:>{len(title)}}" for number, title in zip(numbers, header, strict=True))
            yield Text.assemble(
                (mark, "green" if place.judged else "yellow"),
                (f" {place.numbers[0]:04d}{more:<3}", "bold"),
                cells,
                (f"  {short(place.params)}", "dim"),
            )
        if not shown:
            yield Text("  none yet", "dim")
        for _ in range(height - 1 - max(1, len(shown))):
            yield Text("")

    def _events(self, count: int) -> Iterator[Text]:
        last = list(self.frame.events)[-count:]
        for line in last:
            yield Text(plain(line))
        for _ in range(count - len(last)):
            yield Text("")

    # At the bottom.

    def _foot(self) -> Iterator[Text]:
        yield from self._wrapped("logs", [Text(plain(path), "dim") for path in self.frame.logs])
        if self.frame.mood == "over":
            return
        parts = ["stops; the same command goes on"]
        if self.frame.dashboard:
            parts.append(f"dashboard {plain(self.frame.dashboard)}")
        yield from self._wrapped("Ctrl-C", [Text(part, "dim") for part in parts])


def time_left(left: float | None, ahead: Outlook) -> str:
    """How long yet, and what is not known of it."""
    if ahead.training is None or left is None:
        return "time left not known yet"
    if ahead.training == ahead.deriving == ahead.judging == ahead.test == 0:
        return "done"
    if ahead.judging is None:
        return f"{about(left)} of training left, then judging" if ahead.training else "judging; time left not known yet"
    then = [name for name, part in (("derived points", ahead.deriving), ("test", ahead.test)) if part is None]
    return f"{about(left)} left" + (f", then {' and '.join(then)}" if then else "")


def _measured(result: Mapping[str, Any]) -> str:
    parts = [f"{METRICS[name].short} {METRICS[name].printed(result[name])}" for name in ACCURACIES if name in result]
    if not parts and "loss" in result:
        parts = [f"loss {result['loss']:.4g}"]
    return "  ".join(parts)


def _header(name: str) -> str:
    return METRICS[name].short if name in METRICS else name


def _value(name: str, values: Mapping[str, float]) -> str:
    if name not in values:
        return "-"
    return METRICS[name].printed(values[name]) if name in METRICS else figures(values[name])


def _spread(places: Sequence[Place], count: int) -> Sequence[Place]:
    """So many places, both ends among them and the rest evenly between."""
    if len(places) <= count:
        return places
    if count < 2:
        return places[: max(0, count)]
    return [places[round(at * (len(places) - 1) / (count - 1))] for at in range(count)]


def _bar(share: float, marks: Marks) -> Text:
    full = round(min(1.0, max(0.0, share)) * _BAR)
    return Text.assemble((marks.bar * full, "green"), (marks.floor * (_BAR - full), "dim"))
