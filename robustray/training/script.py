"""Runs a training function of the user's own as a trial: its reports, its checkpoints, and what its network is worth by us."""

from __future__ import annotations

import json
import logging
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import torch
from torch import nn

from robustray import plugins
from robustray.data.device import DeviceImages
from robustray.devices import pick_device
from robustray.disks import disk_trouble
from robustray.errors import Diverged, NotFinite, Paused, UserError
from robustray.files import json_mapping, write_whole
from robustray.measures.accuracy import measured
from robustray.measures.spatial import spatial
from robustray.numerics import numerics
from robustray.plain import line
from robustray.processors import cores
from robustray.subjects import weight_files
from robustray.training import checkpoints, metrics_csv
from robustray.trial import TrialConfig

log = logging.getLogger("robustray")
HOME, STATE, PROGRESS = "script", "state.pt", "progress.json"
OWN = "own_"
"""What stands before the script's numbers in metrics.csv: none of them is taken for a measurement of ours."""
_WHERE_THE_DEVICE_FAILS = (torch.cuda.OutOfMemoryError, getattr(torch, "AcceleratorError", torch.cuda.OutOfMemoryError))


class ScriptFailed(Exception):
    """The user's function failed, or gave back no network. The message says where."""


class _Stop(BaseException):
    """Ends the function where it reports or saves. No Exception: its own handlers are not meant."""


class Checkpoint:
    """What a training function goes on from when its process was killed.

    Attributes:
        folder: a folder of the trial's own, for whatever else the function writes.
    """

    def __init__(self, folder: Path, stop: threading.Event) -> None:
        self.folder = folder
        self._stop = stop

    def load(self) -> dict[str, Any] | None:
        """What was last saved, on the CPU; None where nothing was, or where the file is damaged."""
        path = self.folder / STATE
        if not path.exists():
            return None
        try:
            return checkpoints.load(path)
        except checkpoints.DamagedCheckpoint as error:
            log.warning("%s; the function begins anew", error)
            return None

    def save(self, state: Mapping[str, Any]) -> None:
        """Keeps a mapping of tensors and plain values (numbers, text, lists, mappings), whole or not at all.

        Raises:
            TypeError: it holds something else, which could not be read again.
        """
        checkpoints.save(self.folder / STATE, dict(state))
        try:
            checkpoints.load(self.folder / STATE)
        except Exception as error:
            (self.folder / STATE).unlink()
            raise TypeError(f"checkpoint.save takes tensors and plain values alone ({line(error)})") from None
        if self._stop.is_set():
            raise _Stop


class ScriptTrainer:
    """A trial whose training is a function of the user's. A folder with a checkpoint is continued.

    The function runs in a thread: each of its reports is handed out as an epoch's. Files: `script/` is its own, with
    `state.pt` and our `progress.json`; `metrics.csv` a row per report; `last.pt` the trained network, at the end.

    Raises:
        UserError: a plugin or the function is missing.
    """

    def __init__(self, config: TrialConfig, folder: Path, *, device: str = "auto", threads: int | None = None) -> None:
        assert config.script is not None
        self.config, self.script, self.folder = config, config.script, folder
        self.device = pick_device(device)
        self.threads = min(torch.get_num_threads(), cores()) if threads is None else threads
        self.stop = threading.Event()
        """Set it to stop where the function saves next, or reports for the second time."""
        folder.mkdir(exist_ok=True)  # as the trainer does it
        config.keep(folder)
        self._train = plugins.function(config.plugins, self.script.train)
        self._home = folder / HOME
        self._home.mkdir(exist_ok=True)
        self._news: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._heard = False  # of the stop, in a report
        state, _ = checkpoints.load_last(folder)
        self.report: dict[str, Any] | None = None if state is None else state["report"]
        self._rows, self._before = self._progress()

    @property
    def completed(self) -> int:
        """Epochs reported."""
        return int(self._rows[-1]["epoch"]) if self._rows else 0

    @property
    def place(self) -> str:
        """How far it is, in words."""
        return f"epoch {self.completed} of {self.script.train}"

    def epoch(self) -> dict[str, Any]:
        """Runs the function until it reports or ends.

        Returns:
            Its report; after its end, what we measured of its network, `outcome`, and `weights`, the hash.

        Raises:
            ScriptFailed: it failed, or what it gave back is no such network. Diverged: the network's answers are not finite.
            Paused: `stop` was set.
        """
        if self._thread is None:
            self._begun = time.monotonic()
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        kind, found = self._news.get()
        if kind == "stopped":
            raise Paused
        if kind == "error":
            raise found
        report: dict[str, Any] = found if kind == "report" else self._measured(found)
        return report

    def halt(self) -> None:
        """Lets the function come to the place where it stops, after `stop` was set; what it saves there is kept."""
        self.stop.set()
        if self._thread is not None:
            self._thread.join()

    # In the function's thread.

    def _run(self) -> None:
        try:
            torch.set_num_threads(self.threads)
            torch.manual_seed(self.config.seed)
            given = self.script.given(self.config.seed)
            found = self._train(given, self._report, Checkpoint(self._home, self.stop))
        except _Stop:
            self._news.put(("stopped", None))
        except BaseException as error:
            self._news.put(("error", self._told(error)))
        else:
            self._news.put(("end", found))

    def _report(self, *, epoch: int | None = None, **numbers: float) -> None:
        """Says how far training is. `epoch` counts from 1; the other numbers are the script's own, for metrics.csv."""
        if self.stop.is_set():
            if self._heard:
                raise _Stop
            self._heard = True
        at = self.completed + 1 if epoch is None else int(epoch)
        if at < 1:
            raise ValueError(f"report: epochs count from 1, not {epoch}")
        row = {"epoch": at, "cost_seconds": self._seconds(), **{OWN + key: float(numbers[key]) for key in numbers}}
        self._rows = [
            *(row for row in self._rows if row["epoch"] < at),
            row,
        ]  # those after a checkpoint are trained again
        self._keep()  # before the function can save that it is so far
        self._news.put(("report", {**self._common(at), "done": False}))

    def _told(self, error: BaseException) -> BaseException:
        """The error as the trial's record has it: one line with its place, but what is the machine's to tell as it is."""
        log.error("%s failed\n%s", self.script.train, "".join(traceback.format_exception(error)))
        if isinstance(error, (*_WHERE_THE_DEVICE_FAILS, Diverged)) or disk_trouble(error) is not None:
            return error
        frames = traceback.extract_tb(error.__traceback__)
        own = {str(each.place) for each in plugins.loaded(self.config.plugins.values())}
        at = next((frame for frame in reversed(frames) if frame.filename in own), frames[-1])
        return ScriptFailed(f"{Path(at.filename).name}:{at.lineno}: {type(error).__name__}: {line(error)}")

    # In ours.

    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._begun

    def _common(self, epoch: int) -> dict[str, Any]:
        epochs = self.script.config.get("epochs")
        return {
            "epoch": epoch,
            "epochs": max(epoch, epochs) if isinstance(epochs, int) else epoch,
            "training_iteration": len(self._rows) + 1,
            "exact": True,
            "cost_seconds": self._seconds(),
            "cost_device_hours": self._seconds() / 3600,
        }

    def _measured(self, given: Any) -> dict[str, Any]:
        """What the network is worth on the tune images, as validation measures it; the network into `last.pt`."""
        judge = self.config.judge
        rows = judge.lists()[1]
        images = DeviceImages(judge.data.load("validation").take(rows), self.device)
        network = self._taken(given).to(self.device).eval().requires_grad_(False)
        try:
            with numerics():
                self._fits(network, images.batch(slice(2))[0], judge.data.classes)
                shares: dict[str, float] = measured(network, images, judge.cheap.bind(judge.threat)).named()
                if judge.spatial is not None:
                    shares |= spatial(network, images, rows, judge.spatial)
        except NotFinite as error:
            raise Diverged(f"the trained network: {error}") from error
        weights = checkpoints.contiguous(network.cpu())
        report = {
            **self._common(self.completed),
            **shares,
            "done": True,
            "outcome": "complete",
            "weights": checkpoints.weights_hash(weights),
        }
        last = self._rows.pop() if self._rows else {"epoch": 1.0}
        self._rows.append({**last, "cost_seconds": self._seconds(), **shares})
        kept = {"config": self.config.to_yaml(), "average": weights, "best": None, "report": report}
        checkpoints.save_last(self.folder, kept)
        self._keep()
        return report

    def _taken(self, given: Any) -> nn.Module:
        """The network of `script.model` with the weights that the function gave back."""
        state = given.state_dict() if isinstance(given, nn.Module) else given
        if not isinstance(state, Mapping) or not state:
            what = "nothing" if given is None else f"a {type(given).__name__}"
            raise ScriptFailed(f"{self.script.train} gave back {what}; return the trained network, or its state dict")
        try:
            with torch.random.fork_rng(devices=[]):
                network = self.config.network()
            weight_files.put(network, {"": dict(state)}, f"what {self.script.train} gave back", self.script.model)
        except UserError as error:
            raise ScriptFailed(str(error)) from error
        return network

    def _fits(self, network: nn.Module, x: torch.Tensor, classes: int) -> None:
        try:
            with torch.no_grad():
                logits = network(x)
        except Exception as error:
            raise ScriptFailed(f"{self.script.model}: {type(error).__name__}: {line(error)}") from error
        wanted = (len(x), classes)
        if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != wanted:
            found = list(logits.shape) if isinstance(logits, torch.Tensor) else f"a {type(logits).__name__}"
            raise ScriptFailed(
                f"{self.script.model}: of images {list(x.shape)} come {found}, not logits {list(wanted)}"
            )

    def _progress(self) -> tuple[list[dict[str, float]], float]:
        try:
            known = json_mapping(self._home / PROGRESS)
            return known["rows"], known["seconds"]
        except (OSError, ValueError, KeyError):
            return [], 0.0

    def _keep(self) -> None:
        write_whole(self._home / PROGRESS, json.dumps({"rows": self._rows, "seconds": self._seconds()}))
        metrics_csv.write(self.folder, self._rows)
