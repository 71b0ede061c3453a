"""Every command of docs/from_the_papers.md is one of the command line's, and what it asks for can be built."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

import analysis.__main__
import robustray.__main__
import run_sweep
import sweeps.__main__
from analysis.papers.registry import EXHIBITS
from robustray.options.choose import choose, several
from sweeps.deriving import parents
from sweeps.dry_run import first_trials
from sweeps.space import Sweep

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "from_the_papers.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| original")
]
COMMANDS = [row[2].strip("` |") for row in ROWS if row[2].startswith("`")]
NAMED = {
    "Kamath": """
        trades/cusp_cifar10.py trades/train_trades_cifar10.py stdcnn/main_vgg16.py stdcnn/main_vgg16_collect.py
        stdcnn/pgd_attack.py gcnn/train_resnet18.py cifar10/models/resnet.py mnist/mnist.py --train_angle StdCNN GCNN
    """,
    "Bai": """
        prepare_data.py run.py comp_autoattack/ run_robustbench.py models/comp_model.py models/mixing_net.py BiT
        apgd-ce-rand apgd-t-rand visualizations/certified_radius_helper.py edm trades rn18
    """,
    "Yang": """
        main.py experiments/experiment01.py experiments/hypo.py restrictedImgnetHypo.py scripts/Table2.sh
        scripts/Table3.sh scripts/Table4.sh notebooks/dataset_dist.ipynb notebooks/splines.ipynb
        scripts/restrictedImgNet_dists.py scripts/random_restrictedImgNet_dists.py scripts/run_proof_of_concept.sh
        scripts/rm_staled_results.sh scripts/restrictedImgNet.py lolip/models/torch_model.py
        lolip/models/torch_utils/trades.py lolip/utils.py lolip/models/torch_utils/tulip.py
        lolip/models/torch_utils/llr.py lolip/attacks/__init__.py lolip/attacks/torch/multi_target.py CNN001 CNN002
        CNN003 WRN_40_10 WRN_64_10 WRN_64_12 ResNet50 aug01 advce advbeta2ce strades3ce tulipce llrce
    """,
    "Stutz": """
        experiments/train.py experiments/attack.py experiments/test.py experiments/early_stopping.py
        experiments/extract_wa.py experiments/hessian.py experiments/scale_fixed.py experiments/scale_as.py
        experiments/visualize.py examples/average_robust_flatness.py examples/worst_robust_flatness.py
        examples/average_flatness.py examples/worst_flatness.py attacks/batch_gradient_descent.py models/resnet.py
        attacks/batch_tau_gradient_descent.py common/torch/optim.py common/train/adversarial_weights_inputs_training.py
        iccv/cifar10_noaa.py cifar10_500k.py cifar10_noaa_500k normal_training at_linf_gd_normalized_..._f100 f100 i7
        mom0 at_ii_... at_pll_... at_tau<t>_... <wmax>p_at_... _ls<t> _ln<t> _lr02 _lr01 _lr001 _const01 _const001
        _const0005 _late _lrf0316 _cyc _cyc2 _cyc3 _cyc4 _nowd _wd005 _wd00001 _b4 _b512 _adam _wa* _wa*_extr
        _wa*_extr_uncal _esgd1 _esgd2 _esgd3 _esgd5 _s05 _s2 _slog* trades<b> mart<b> at_ssl<w> simple_awit_*
        threshold_awit_* ..._l2_random_e<xi>_... aa_ 500k_ <key>_es --clipping regn
    """,
    "Pang": """
        train-wa.py core/data/semisup.py watrain.py without_DDPM/train_cifar.py eval-aa.py eval-adv.py
        generate_toy_demo.py plot_toy_demo.m wzekai99/DM-Improves-AT wrn-28-10-swish wrn-70-16-swish PreActResNet18
    """,
}
"""What somebody may look for here: scripts of the originals, files that hold a method, names of models and of trainings."""
EXHIBITED = (
    *("Table 1 and Appendix D", "Table 2", "Table 3, CIFAR-10", "Table 3, Restricted ImageNet", "Table 4, SVHN"),
    *("Table 4, CIFAR-10", "Appendix C", "Figures 1 and 2", "main table", "table of the Hessian", "table of scaling"),
    *("table of the leaderboard", "figure: KL against squared l2", "figure: certified accuracy by radius"),
    *(
        "figure: CuSP beyond both curves",
        "figures: robust overfitting",
        "figure: several xi",
        "table: models of RobustBench",
    ),
)
"""Tables and figures that have a number or a name there."""
REMEDIES = list(dict.fromkeys(exhibit.command for exhibit in EXHIBITS.values()))
"""What an exhibit says where something is missing."""
SHIPPED = {path.stem: path for path in (ROOT / "search_spaces").rglob("*.yaml")}


def parsed(app: typer.Typer, words: list[str]) -> dict[str, object]:
    """What the command line makes of these words, without doing it."""
    command: Any = typer.main.get_command(app)
    while isinstance(command, TyperGroup):
        command, words = command.commands[words[0]], words[1:]
    with command.make_context("test", words) as context:
        given: dict[str, object] = context.params
        return given


def sweep_app() -> typer.Typer:
    app = typer.Typer()
    app.command()(run_sweep.sweep)
    return app


def test_every_row_has_a_command_or_says_why_not() -> None:
    assert len(ROWS) >= 180
    for row in ROWS:
        assert len(row) == 3, row
        assert re.match(r"`python .*` ?\|?$|not yet: |out of scope: ", row[2]), row[2]


@pytest.mark.parametrize("name", [name for names in NAMED.values() for name in names.split()])
def test_every_name_of_the_originals_has_a_row(name: str) -> None:
    assert any(f"`{name}`" in row[0] or name in row[0].replace("`", "").split() for row in ROWS), name


@pytest.mark.parametrize("name", EXHIBITED)
def test_every_table_of_the_originals_has_a_row(name: str) -> None:
    assert any(name in row[0] for row in ROWS), name


def test_nothing_is_said_twice() -> None:
    assert len({(row[0], row[1]) for row in ROWS}) == len(ROWS)


def test_every_exhibit_has_a_row() -> None:
    named = [shlex.split(command)[4] for command in COMMANDS if command.startswith("python -m analysis paper ")]
    assert sorted(named) == sorted(EXHIBITS)


@pytest.mark.parametrize("command", [*COMMANDS, *REMEDIES])
def test_a_command_can_be_done(command: str) -> None:
    words = shlex.split(command)
    if words[1] == "run_sweep.py":
        asked = parsed(sweep_app(), words[2:])
        settings = list(asked["settings"] or [])  # type: ignore[call-overload]
        trials = [f"search.trials={asked['trials']}"] if asked["trials"] else []
        sweep = Sweep.from_yaml(ROOT / str(asked["space"]), overrides=settings + trials)
        assert first_trials(sweep, 3)
        return
    assert words[1] == "-m"
    if words[2] == "sweeps":
        asked = parsed(sweeps.__main__.app, words[3:])
        assert Path(str(asked["folder"])).name in SHIPPED
        makers = [choose("derive", text, "derive") for text in asked["requests"]]  # type: ignore[attr-defined]
        parents.check(makers)  # type: ignore[arg-type]
        return
    if words[2] == "analysis":
        asked = parsed(analysis.__main__.app, words[3:])
        if words[3] == "paper":
            assert asked["name"] in EXHIBITS
            assert all(folder.name in SHIPPED for folder in asked["folders"])  # type: ignore[attr-defined]
            return
        assert words[3] == "toy" or next(part for part in Path(str(asked["table"])).parts if part in SHIPPED)
        return
    assert words[2] == "robustray"
    asked = parsed(robustray.__main__.app, words[3:])
    model = str(asked["model"])
    assert model.startswith("zoo:") or Path(model).parts[1] in SHIPPED
    if "measures" in asked:
        assert several("measure", str(asked["measures"]), "--measures")
        assert all(split.strip() in ("train", "validation") for split in str(asked["split"] or "train").split(","))
