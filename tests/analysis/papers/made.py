"""Rows of every exhibit as it reads them, made up: two seeds of three settings, and labels that want to break out."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

LABELS = ("TRADES, beta 6", "50 % & more_or_less $x$ #1 {a} ~^\\", "<script>alert(1)</script>")
SEEDS = 2


def models() -> pd.DataFrame:
    """Who the models are: the columns of `sources.OF_MODEL`, and `z`, a number for each."""
    rows = [
        {"sweep": "made", "trial": len(LABELS) * seed + at, "setting": str(at), "label": label, "z": at + seed / 10}
        for seed in range(SEEDS)
        for at, label in enumerate(LABELS)
    ]
    return pd.DataFrame(rows)


def _yang_tables() -> pd.DataFrame:
    df = models()
    z = df.pop("z")
    for key, start in (("clean", 0.9), ("robust", 0.5), ("lipschitz", 40.0)):
        for split, less in (("train", 0.0), ("held_out", 0.05)):
            df[f"{key}_{split}"], df[f"{key}_{split}_se"] = start * (1 - less - z / 20), 0.01 * start
        df[f"{key}_gap"] = df[f"{key}_train"] - df[f"{key}_held_out"]
        df[f"{key}_gap_se"] = 0.01 * start * math.sqrt(2)
    return df.assign(
        on_train="200 train images of digits", on_held_out="200 test images of digits", threat="linf, eps 0.1"
    )


def _yang_separation() -> pd.DataFrame:
    edges = np.linspace(0, 1, 21)
    parts = [
        pd.DataFrame({"from": edges[:-1], "to": edges[1:], "images": range(20), "random_labels": range(20, 0, -1)}).assign(
            data="digits", split=split, norm="linf", of=190, mean=0.7, median=0.7, two_eps=0.2, least=least,
            random_least=0.1, random_mean=0.4, random_median=0.4, seed=0,
        )
        for split, least in (("train", 0.1), ("test", 0.3))
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _accuracies(df: pd.DataFrame, z: pd.Series[float]) -> pd.DataFrame:
    return df.assign(
        clean=0.9 - z / 20,
        clean_se=0.01,
        robust=0.4 + z / 20,
        robust_se=0.02,
        protocol="AutoAttack standard, 1,000 images",
    )


def _pang_divergences() -> pd.DataFrame:
    df = models()
    df = _accuracies(df, df.pop("z"))
    return df.assign(
        divergence=["kl" if setting == "0" else "lse" for setting in df["setting"]],
        beta=[2.0 if setting == "2" else 1.0 for setting in df["setting"]], conditions="cifar10:linf:0.03137",
    )  # fmt: skip


def _kamath_curves() -> pd.DataFrame:
    df = models()
    z = df.pop("z")
    keys = {"clean": 0.9, "robust": 0.4, "spatial": 0.6, "fooled": 0.5, "turned": 0.3}
    df = df.assign(**{key: value - z / 20 for key, value in keys.items()})
    df["curve"] = [("rotations", "eps", "both")[int(setting)] for setting in df["setting"]]
    df["rotation"] = [(0.0, 0.0, 60.0)[int(setting)] for setting in df["setting"]]
    df["eps"] = [(0.0, 0.1, 0.1)[int(setting)] for setting in df["setting"]]
    return df.assign(within=30.0, attacked=0.1)


def _kamath_angles() -> pd.DataFrame:
    df = models()
    z = df.pop("z")
    parts = [
        df.assign(angle=angle, accuracy=0.9 - angle / 300 - z / 20, fooled=angle / 300, accuracy_se=0.01)
        for angle in (0.0, 30.0, 90.0)
    ]
    return pd.concat(parts, ignore_index=True).assign(split="test", images=200, data="digits")


def _mixtures() -> pd.DataFrame:
    rows = [
        {"pair": "0 and 1", "alpha": alpha, "role": role, "sweep": "made", "trial": trial}
        for alpha, role, trial in ((0.0, "accurate parent", 0), (0.6, "mixture", 7), (1.0, "robust parent", 1))
    ]
    return pd.DataFrame(rows)


def _bai_alpha() -> pd.DataFrame:
    df = _mixtures()
    return _accuracies(df, 2 * df["alpha"]).assign(conditions="cifar10:linf:0.03137")


def _bai_gradients() -> pd.DataFrame:
    df = _mixtures().assign(norm=[4.0, 2.0, 1.0], norm_se=0.1, alignment=[0.5, 0.7, 0.9], zero=0.0)
    return df.assign(split="test", images=200, data="digits", threat="linf", ratio=[1.0, 2.0, 4.0])


def _bai_radii() -> pd.DataFrame:
    radii = np.linspace(0, 1, 11)
    parts = [
        pd.DataFrame({"alpha": alpha, "form": "smoothing", "claims": claims, "radius": radii}).assign(
            certified_accuracy=np.clip(alpha - radii - (0.05 if claims == "all" else 0), 0, 1), name="trial 3", sigma=0.25,
            images=100, data="digits", split="test", samples=1000, confidence=0.999,
        )
        for alpha in (0.76, 1.0)
        for claims in ("image", "all")
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _stutz_flatness() -> pd.DataFrame:
    df = models()
    z = df.pop("z")
    df = df.assign(
        split="test", images=200, data="digits", norm="linf", eps=0.1, robust_loss=1 + z, robust_loss_se=0.05
    )
    df = df.assign(robust=0.5 - z / 10, flatness=0.2 + z / 5, flatness_se=0.02, flatness_worst=1 + z * z)
    return df.assign(flatness_worst_se=math.nan)


def _stutz_landscape() -> pd.DataFrame:
    df = models()
    z = df.pop("z")
    parts = [
        df.assign(s=s, mean=1 + z + s * s, least=1 + z, most=2 + z + s * s, direction=direction)
        for direction in ("random", "adversarial")
        for s in (-1.0, 0.0, 1.0)
    ]
    return pd.concat(parts, ignore_index=True).assign(
        split="test", images=100, data="digits", rise=1.0, rise_se=0.1, curvature=2.0
    )


def _stutz_hessian() -> pd.DataFrame:
    df = models()
    z = df.pop("z")
    parts = [
        df.assign(
            rescale=scale, largest=(100 + z) / scale**2, smallest=-5 / scale**2, convexity=0.05, robust_loss=1 + z
        )
        for scale in (1.0, 2.0)
    ]
    return pd.concat(parts, ignore_index=True).assign(split="test", images=200, data="digits")


def _stutz_early_stopping() -> pd.DataFrame:
    df = models()
    z = df.pop("z")
    parts = [
        df.assign(
            epoch=epoch, loss=1 + z + at, error=(0.6, 0.4, 0.5)[at] - (0.1 if split == "train" else 0), split=split
        )
        for at, epoch in enumerate((5, 10, 15))
        for split in ("train", "validation")
    ]
    return pd.concat(parts, ignore_index=True).assign(images=200, data="digits")


ROWS = {
    "yang-tables": _yang_tables,
    "yang-separation": _yang_separation,
    "pang-divergences": _pang_divergences,
    "kamath-curves": _kamath_curves,
    "kamath-angles": _kamath_angles,
    "bai-alpha": _bai_alpha,
    "bai-radii": _bai_radii,
    "bai-gradients": _bai_gradients,
    "stutz-flatness": _stutz_flatness,
    "stutz-landscape": _stutz_landscape,
    "stutz-hessian": _stutz_hessian,
    "stutz-early-stopping": _stutz_early_stopping,
}
