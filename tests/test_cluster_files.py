"""The recipes in `cluster/`: whole, of one version, with tokens, and holding spaces that this version reads."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from sweeps.space import Sweep

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "cluster"
SHELLCHECK = Path(sys.executable).with_name("shellcheck")


def _documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def _cluster(name: str) -> dict[str, Any]:
    last = _documents(name)[-1]
    found: dict[str, Any] = last["spec"]["rayClusterSpec"] if last["kind"] == "RayJob" else last["spec"]
    return found


def test_scripts_are_clean() -> None:
    for path in FOLDER.glob("*.sh"):
        subprocess.run(["bash", "-n", path], check=True)
        assert os.access(path, os.X_OK)
        if SHELLCHECK.exists():
            done = subprocess.run([SHELLCHECK, path], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout


def test_a_job_and_a_cluster_of_kubernetes_are_the_same_cluster() -> None:
    job, cluster = _cluster("rayjob.yaml"), _cluster("raycluster.yaml")
    for pod in (job["headGroupSpec"], *job["workerGroupSpecs"]):
        spec = pod["template"]["spec"]
        spec["volumes"] = [volume for volume in spec["volumes"] if volume["name"] != "space"]
        for container in spec["containers"]:
            container["volumeMounts"] = [mount for mount in container["volumeMounts"] if mount["name"] != "space"]
    assert job == cluster


@pytest.mark.parametrize("name", ["rayjob.yaml", "raycluster.yaml"])
def test_kubernetes_would_take_them(name: str) -> None:
    """By names, types and choices of KubeRay 1.7 (`ray.io/v1`), as far as these files go: `tests/kuberay.json`."""
    known = json.loads((ROOT / "tests" / "kuberay.json").read_text())
    last = _documents(name)[-1]
    assert last["apiVersion"] == "ray.io/v1"
    schema = known if last["kind"] == "RayJob" else known["properties"]["rayClusterSpec"]
    assert [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(last["spec"])] == []
    wrong = {**last["spec"], "rayVersoin": "2.60.0"}
    assert list(jsonschema.Draft202012Validator(schema).iter_errors(wrong))
    pod = _cluster(name)["workerGroupSpecs"][0]["template"]["spec"]
    for mistake in ({"containers": [{"image": "x", "nmae": "y"}]}, {"terminationGracePeriodSeconds": "120 s"}):
        kept = dict(pod)
        pod.update(mistake)
        cluster = schema if last["kind"] == "RayCluster" else schema["properties"]["rayClusterSpec"]
        group = cluster["properties"]["workerGroupSpecs"]["items"]["properties"]["template"]["properties"]["spec"]
        assert list(jsonschema.Draft202012Validator(group).iter_errors(pod)), mistake
        pod.clear()
        pod.update(kept)


@pytest.mark.parametrize("name", ["rayjob.yaml", "raycluster.yaml"])
def test_pods_have_tokens_the_results_and_time_to_leave(name: str) -> None:
    spec = _cluster(name)
    assert spec["authOptions"] == {"mode": "token"}
    assert tuple(map(int, spec["rayVersion"].split("."))) >= (2, 58), "the least that the history server knows"
    claims = [each["metadata"]["name"] for each in _documents(name) if each["kind"] == "PersistentVolumeClaim"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        assert {"name": "results", "mountPath": "/results"} in pod["containers"][0]["volumeMounts"]
        mounted = {volume["name"]: volume for volume in pod["volumes"]}
        assert mounted["results"]["persistentVolumeClaim"]["claimName"] in claims
        assert {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} == set(mounted)
        assert pod["containers"][0]["resources"]["limits"] == pod["containers"][0]["resources"]["requests"]
    for group in groups[1:]:
        pod = group["template"]["spec"]
        told = {each["name"]: each["value"] for each in pod["containers"][0]["env"]}
        assert int(told["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"]) < pod["terminationGracePeriodSeconds"]
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_the_sweep_of_the_job_is_one(tmp_path: Path) -> None:
    space, _, job = _documents("rayjob.yaml")
    [(name, text)] = space["data"].items()
    (tmp_path / name).write_text(text)
    sweep = Sweep.from_yaml(tmp_path / name)
    workers = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    room = workers["maxReplicas"] * int(workers["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
    assert sweep.resources.scale_to is not None
    assert isinstance(sweep.resources.cpus, float)
    assert sweep.resources.scale_to * sweep.resources.cpus <= room, "no more is asked for than may come"
    assert job["spec"]["entrypoint"] == f"run-sweep /spaces/{name} --results /results"
    assert job["spec"]["shutdownAfterJobFinishes"]
    mounts = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["volumes"]
    assert {"name": "space", "configMap": {"name": space["metadata"]["name"]}} in mounts


def test_rays_own_launcher_takes_its_file() -> None:
    code = """
import sys, yaml
from ray.autoscaler._private.util import prepare_config, validate_config
validate_config(prepare_config(yaml.safe_load(open(sys.argv[1]))))
"""
    subprocess.run([sys.executable, "-c", code, FOLDER / "launcher.yaml"], check=True, cwd="/")
    made = yaml.safe_load((FOLDER / "launcher.yaml").read_text())
    for command in (made["head_start_ray_commands"][-1], made["worker_start_ray_commands"][-1]):
        assert "RAY_AUTH_MODE=token" in command
    assert made["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


def test_the_image_has_all_that_is_installed_and_is_not_run_as_root() -> None:
    lines = (FOLDER / "Dockerfile").read_text().splitlines()
    copied = {word.rstrip("/") for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]}
    project = (ROOT / "pyproject.toml").read_text()
    for needed in re.findall(r"packages = \[(.*)\]", project)[0].split(", "):
        assert needed.strip('"') in copied
    for needed in re.findall(r'^"([\w./]+)" = "[\w./]+"$', project, re.MULTILINE):  # into the wheel besides
        assert needed.partition("/")[0] in copied
    for name in copied:
        assert (ROOT / name).exists()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users[-1] != "root"
