"""Plugins: parts from files and modules that a YAML file names, what goes wrong with them, and whose code runs."""

from __future__ import annotations

import importlib
import json
import pickle
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from robustray import plugins, registry, subjects
from robustray.__main__ import main
from robustray.derived.soup import Soup
from robustray.errors import UserError
from robustray.judging.workers import Order
from robustray.registry import kinds, parts
from robustray.subjects import derived
from robustray.training import Trainer
from robustray.trial import TrialConfig
from tests.plugged import fresh, page, restart

__all__ = ["fresh"]
pytestmark = pytest.mark.usefixtures("fresh")
DEFENSE = page("my_defense.py")
TRIAL = """
plugins: [%s]
judge: {data: {name: digits, validation: 60}, threat: {eps: 0.1}, cheap: {steps: 2}, images: {validation: 20}}
model: {name: small_cnn, width: 2}
batch: {size: 400}
defense: {name: mixture, weight: 0.25}
schedule: {epochs: 1}
"""
DATA = '''
"""Two of the digits' rows for each image."""
from typing import Literal
from robustray.data.digits import Digits
from robustray.registry import register

@register
class Twice(Digits):
    """The digits under another name."""
    name: Literal["twice"] = "twice"
'''


def written(folder: Path, plugin: str = DEFENSE, name: str = "my_defense.py", text: str = TRIAL) -> Path:
    """A trial's file beside a plugin."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(plugin)
    path = folder / "trial.yaml"
    path.write_text(text.replace("%s", name))
    return path


def known() -> dict[str, dict[str, Any]]:
    return {kind: dict(parts(kind)) for kind in kinds()}


def trained(folder: Path, config: TrialConfig) -> Path:
    """A trial's folder after training, as a sweep has it: its description too."""
    Trainer(config, folder, device="cpu", threads=1).run()
    (folder / "trial.yaml").write_text(config.to_yaml())
    return folder


def test_a_file_brings_a_part_and_its_options_are_checked_as_ours_are(tmp_path: Path) -> None:
    path = written(tmp_path)
    config = TrialConfig.from_yaml(path)
    assert type(config.defense).__name__ == "Mixture"
    assert config.defense.weight == 0.25  # type: ignore[attr-defined]
    path.write_text(path.read_text().replace("0.25", "2"))
    with pytest.raises(UserError, match=r"trial.yaml:6: defense.mixture.weight: must be at most 1, not 2$|"
                       r"trial.yaml:6: defense.weight: must be at most 1, not 2$"):  # fmt: skip
        TrialConfig.from_yaml(path)


def test_a_trial_that_names_none_is_written_as_it_was_before_there_were_any(tmp_path: Path) -> None:
    assert "plugins" not in TrialConfig.from_yaml(written(tmp_path, text=TRIAL.replace("%s", "").replace(
        "defense: {name: mixture, weight: 0.25}", "defense: natural"))).to_yaml()  # fmt: skip


BROKEN = {
    "def f(:\n": r"my_defense\.py:1: SyntaxError: invalid syntax",
    "import json\nimport no_such_package\n": r"my_defense\.py:2: ModuleNotFoundError: No module named 'no_such_package'",
    "\n\n\n1 / 0\n": r"my_defense\.py:4: ZeroDivisionError: division by zero",
    "import sys\nsys.exit(3)\n": r"my_defense\.py:2: SystemExit: 3",
    "x = 1\n": r"my_defense\.py:1: registers nothing: put @register",
    DEFENSE.replace(
        '"mixture"', '"trades"'
    ): r"my_defense\.py:15: defense 'trades' is already robustray\.defenses\.trades"
    r"\.Trades; give yours another name",
    DEFENSE.replace(
        'Literal["mixture"] = "mixture"', "str"
    ): r"my_defense\.py:15: TypeError: Mixture needs a field name",
    "import beside\n": r"my_defense\.py:1: (ModuleNotFoundError: No module named 'beside'|imports beside\.py from beside it)",
    "x = '\0'": r"my_defense\.py:1: (ValueError|SyntaxError): source code (string )?cannot contain null bytes",
    DEFENSE + "\nraise KeyError('late')\n": r"my_defense\.py:\d+: KeyError: 'late'",
}


@pytest.mark.parametrize("text", BROKEN, ids=[said[:50] for said in BROKEN.values()])
def test_a_broken_plugin_is_one_line_with_both_places_and_leaves_nothing_behind(text: str, tmp_path: Path) -> None:
    before, modules = known(), set(sys.modules)
    path = written(tmp_path, text)
    with pytest.raises(UserError, match=r"trial\.yaml:2: plugins\.0: .*" + BROKEN[text]) as caught:
        TrialConfig.from_yaml(path)
    assert "\n" not in str(caught.value)
    assert known() == before
    assert not [name for name in set(sys.modules) - modules if name.startswith("robustray_plugin_")] or "x = 1" in text
    written(tmp_path)  # mended, it is read anew in the same process
    assert TrialConfig.from_yaml(path).defense.name == "mixture"


def test_what_is_imported_from_beside_the_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the folder happens to be searched the import works today; no record would hold it."""
    path = written(tmp_path, DEFENSE.replace("\n@register", "\nimport helping_hand\n\n@register"))
    (tmp_path / "helping_hand.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = known()
    with pytest.raises(UserError, match=r"imports helping_hand\.py from beside it, which no record would hold"):
        TrialConfig.from_yaml(path)
    del sys.modules["helping_hand"]
    assert known() == before


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("nowhere.py", r"trial.yaml:2: plugins.0: .*nowhere.py: no such file"),
        (
            "no_such_module_at_all",
            r"trial.yaml:2: plugins.0: no_such_module_at_all: no module of this name is installed",
        ),
        ("math", r"trial.yaml:2: plugins.0: math: is no module of Python source"),
        ("3", r"trial.yaml:2: plugins.0: must be a file or a module, not 3"),
        ("my_defense.py, other/my_defense.py", r"plugins.1: there is another plugin my_defense.py"),
        ("json", r"plugins.0: .*json/__init__.py:1: registers nothing"),
    ],
)
def test_a_plugin_that_cannot_be_had_is_told(asked: str, said: str, tmp_path: Path) -> None:
    written(tmp_path / "other", DEFENSE.replace('"mixture"', '"other"'))
    path = written(tmp_path)
    path.write_text(TRIAL % asked)
    with pytest.raises(UserError, match=said):
        TrialConfig.from_yaml(path)


@pytest.mark.parametrize(
    ("asked", "said"), [("3", "must be a list of files and modules, not 3"), ("{a: 1}", "no record of ours")]
)
def test_what_is_no_list_is_told(asked: str, said: str, tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_text(TRIAL.replace("[%s]", asked))
    with pytest.raises(UserError, match=said):
        TrialConfig.from_yaml(path)


def test_another_version_of_a_file_needs_another_process(tmp_path: Path) -> None:
    """Two classes of one name in one process: nobody would know which one a trial was trained with."""
    path = written(tmp_path)
    TrialConfig.from_yaml(path)
    written(tmp_path, DEFENSE + "\n# better\n")
    with pytest.raises(
        UserError, match=r"this process has loaded another my_defense\.py \([0-9a-f]{12}\); start a new one"
    ):
        TrialConfig.from_yaml(path)
    restart()
    assert TrialConfig.from_yaml(path).defense.name == "mixture"


def test_a_trials_folder_is_whole_and_its_model_loads_without_the_file(tmp_path: Path) -> None:
    folder = trained(tmp_path / "trial", TrialConfig.from_yaml(written(tmp_path / "home")))
    weights = subjects.load(str(folder), architecture=None, data=None, norm="linf").weights
    shutil.rmtree(tmp_path / "home")
    moved = folder.rename(tmp_path / "elsewhere")
    restart()
    found = subjects.load(str(moved / "last.pt"), architecture=None, data=None, norm="linf")
    assert found.weights == weights
    assert found.trial is not None
    assert found.trial.defense.name == "mixture"
    restart()
    Trainer(TrialConfig.from_yaml(moved / "trial.yaml"), moved, device="cpu", threads=1)  # goes on as the same trial


def test_code_of_somebody_elses_folder_runs_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "it ran"
    path = written(tmp_path / "home", f"{DEFENSE}\nopen({str(mark)!r}, 'w').close()\n")
    folder = trained(tmp_path / "trial", TrialConfig.from_yaml(path))
    mark.unlink()
    restart()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "somebody else"))
    for spec in (folder, folder / "last.pt"):
        with pytest.raises(
            UserError, match=r"was made with the plugin my_defense\.py, code that you have not run .*--trust-plugins"
        ):
            subjects.load(str(spec), architecture=None, data=None, norm="linf")
    with pytest.raises(UserError, match="--trust-plugins"):
        TrialConfig.from_yaml(folder / "trial.yaml")  # a record, and no request
    assert not mark.exists()
    plugins.trust_everything()
    subjects.load(str(folder), architecture=None, data=None, norm="linf")
    assert mark.exists()
    restart()  # it was trusted once, and not for good
    with pytest.raises(UserError, match="--trust-plugins"):
        subjects.load(str(folder), architecture=None, data=None, norm="linf")


def test_a_copy_that_is_not_what_was_trained_is_refused(tmp_path: Path) -> None:
    folder = trained(tmp_path / "trial", TrialConfig.from_yaml(written(tmp_path / "home")))
    (copy,) = folder.glob("plugins/*/my_defense.py")
    copy.write_text(DEFENSE + "\n# worse\n")
    restart()
    with pytest.raises(UserError, match=r"is not the plugin that .* was made with"):
        subjects.load(str(folder), architecture=None, data=None, norm="linf")
    copy.unlink()
    with pytest.raises(
        UserError, match=r"No such file or directory; it is the plugin my_defense\.py .* copy it there as well"
    ):
        subjects.load(str(folder), architecture=None, data=None, norm="linf")


@pytest.mark.parametrize("name", ["../../../evil.py", "/etc/evil.py", "a/b.py", "a..b"])
def test_a_record_reaches_no_file_outside_its_folder(name: str, tmp_path: Path) -> None:
    plugins.trust_everything()
    with pytest.raises(UserError, match="that no record of ours would name"):
        plugins.recorded({name: "0" * 64}, tmp_path)
    with pytest.raises(UserError, match="that no record of ours would name"):
        plugins.recorded({"fine.py": "../" * 20}, tmp_path)


def test_an_installed_module_is_known_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "installed" / "my_package_of_defenses"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from my_package_of_defenses import mixture\n")
    (package / "mixture.py").write_text(DEFENSE)
    monkeypatch.syspath_prepend(package.parent)
    config = TrialConfig.from_yaml(written(tmp_path, name="my_package_of_defenses"))
    assert config.defense.name == "mixture"
    assert list(config.plugins) == ["my_package_of_defenses"]
    trained(tmp_path / "trial", config)
    assert not (tmp_path / "trial" / "plugins").exists()  # the other machine has it installed, or is told to
    restart()
    (package / "mixture.py").write_text(DEFENSE + "\n# newer\n")
    with pytest.raises(UserError, match="another version of the module my_package_of_defenses"):
        TrialConfig.from_yaml(tmp_path / "trial" / "trial.yaml")
    for name in [name for name in sys.modules if name.startswith("my_package_of_defenses")]:
        del sys.modules[name]


def install(folder: Path, text: str) -> None:
    """A package with an entry point, as pip leaves it."""
    about = folder / "wonders-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: wonders\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[robustray.plugins]\nall = wonders_of_mine\n")
    (folder / "wonders_of_mine.py").write_text(text)


def test_an_installed_package_brings_its_parts_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, DEFENSE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_loaded", False)
    assert "mixture" in parts("defense")
    del sys.modules["wonders_of_mine"]


def test_an_installed_package_that_is_broken_is_one_line_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, DEFENSE + "\n1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_loaded", False)
    for _ in range(2):
        with pytest.raises(UserError, match=r"^the plugin all of the installed package wonders cannot be loaded "
                           r"\(ZeroDivisionError: division by zero\); mend it, or uninstall wonders$"):  # fmt: skip
            parts("defense")
    monkeypatch.setattr(registry, "_loaded", True)
    assert "mixture" not in parts("defense")
    monkeypatch.setattr(registry, "_loaded", False)
    registry_installed = registry._installed
    registry.without_installed()
    assert "mixture" not in parts("defense")
    monkeypatch.setattr(registry, "_installed", registry_installed)


def test_what_a_judge_sends_to_other_processes_arrives_with_its_parts(tmp_path: Path) -> None:
    """Images of a plugin's source: the class has no module that another process could import."""
    text = TRIAL.replace("name: digits", "name: twice").replace("{name: mixture, weight: 0.25}", "natural")
    config = TrialConfig.from_yaml(written(tmp_path, DATA, "my_data.py", text))
    order = Order("spec", None, "hash", config.judge, "validation", tmp_path, 10, {}, {}, False)
    sent = pickle.dumps(order)
    restart()
    assert "twice" not in parts("data")
    assert pickle.loads(sent).judge.data.name == "twice"


def test_a_command_line_names_plugins_for_its_other_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_data.py").write_text(DATA)
    monkeypatch.setattr(sys, "argv", ["robustray", "data", "twice", "--plugin", str(tmp_path / "my_data.py")])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    assert "twice" in capsys.readouterr().out


def test_the_record_of_plugins_is_hashed_with_the_options(tmp_path: Path) -> None:
    config = TrialConfig.from_yaml(written(tmp_path))
    again = TrialConfig.recorded(config.to_yaml(), tmp_path)
    assert again == config.resolved()
    assert hash(again.plugins) == hash(config.plugins)
    assert re.fullmatch("[0-9a-f]{64}", yaml.safe_load(config.to_yaml())["plugins"]["my_defense.py"])


def test_python_names_files_by_a_call(tmp_path: Path) -> None:
    written(tmp_path)
    options = {"judge": {"data": "digits", "threat": {"eps": 0.1}}, "defense": "mixture"}
    with pytest.raises(ValueError, match=r"plugins\.named\(names, folder\) loads them"):
        TrialConfig.model_validate({"plugins": ["my_defense.py"], **options})
    named = plugins.named(["my_defense.py"], tmp_path)
    assert TrialConfig.model_validate({"plugins": named, **options}).defense.name == "mixture"
    assert importlib.import_module(TrialConfig.model_validate(options).defense.__module__).Mixture


def test_a_points_parent_of_somebody_elses_runs_only_when_asked(tmp_path: Path) -> None:
    """A point names functions as parents, which its folder may bring along."""
    mark = tmp_path / "it ran"
    net = tmp_path / "net.py"
    net.write_text(f"open({str(mark)!r}, 'w').close()\nfrom torch import nn\ndef make(): return nn.Flatten()\n")
    judge = TrialConfig.model_validate({"judge": {"data": "digits", "threat": {"eps": 0.1}}}).judge
    find = derived.finder(tmp_path, judge)
    for spec in ("net.py:make", f"{net}:make", "torch.nn:Flatten"):
        with pytest.raises(
            UserError, match=r"is made of .*, code that you have not run on this machine; .*--trust-plugins"
        ):
            find(spec)
    assert not mark.exists()
    Soup(parents=(f"{net}:make", "torch.nn:Flatten")).trust()  # as a space does that names them
    restart()
    assert find("net.py:make").weights == find("torch.nn:Flatten").weights
    net.write_text(net.read_text() + "\n# worse\n")
    with pytest.raises(UserError, match="--trust-plugins"):
        find("net.py:make")


def test_what_is_trusted_travels_to_processes_that_work_for_this_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    plugins.trust_parent("torch.nn:Identity")
    sent = json.loads(json.dumps(plugins.travelling()))
    restart()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
    with pytest.raises(UserError):
        plugins.demand_parent("torch.nn:Identity", tmp_path)
    plugins.arrived(sent)
    plugins.demand_parent("torch.nn:Identity", tmp_path)
    plugins.trust_everything()
    sent = plugins.travelling()
    restart()
    plugins.arrived(sent)
    assert plugins.trusts("0" * 64)
