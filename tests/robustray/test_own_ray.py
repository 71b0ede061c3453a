"""Which Ray a sweep runs on, what is set for it, and what is said when it cannot be reached."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustray.commands import doctor, own_ray
from robustray.commands.own_ray import OWN, cause, cluster, environment, refused

ADDRESS = "10.0.0.1:6379"
GCS = """Failed to start GCS.  Last 0 lines of error files:

.Please check /tmp/ray/session/logs/gcs_server.out for details. Last connection error: Traceback (most recent call last):
  File "node.py", line 996, in _init_gcs_client
    client = GcsClient(
ray.exceptions.AuthenticationError: RPC error: InvalidAuthToken: Authentication token is missing or incorrect. Note: see docs
"""
"""What ray 2.60 raises, shortened."""


def test_ours_is_set_for_the_ray_we_start_and_nothing_on_a_cluster() -> None:
    for local in ({}, {"RAY_ADDRESS": ""}, {"RAY_ADDRESS": "local"}, {"RAY_ADDRESS": " "}):
        assert cluster(local) is None
        assert environment(local | {"RAY_AUTH_MODE": "disabled"}) == OWN, "never without tokens"
    for address in (ADDRESS, "auto", "ray://head:10001"):
        assert cluster({"RAY_ADDRESS": address}) == address
        assert environment({"RAY_ADDRESS": address}) == {}


@pytest.mark.parametrize("mode", [None, "disabled", "token"])
@pytest.mark.parametrize("address", [None, ADDRESS])
def test_the_backend_leaves_a_clusters_environment_as_it_is(address: str | None, mode: str | None) -> None:
    """As the process that has imported it sees it, and hands it on."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    given |= {"RAY_ADDRESS": address} if address else {}
    given |= {"RAY_AUTH_MODE": mode} if mode else {}
    asked = f"import os, sweeps.running.ray; print([os.environ.get(name) for name in {list(OWN)}])"
    done = subprocess.run([sys.executable, "-c", asked], env=given, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == str([mode, None] if address else list(OWN.values()))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(30, "Read-only file system", "nowhere/.ray"), "[Errno 30] Read-only file system: 'nowhere/.ray'"),
        (RuntimeError("Could not determine home directory."), "Could not determine home directory"),
        (UnicodeError("'utf-8' codec can't encode"), "'utf-8' codec can't encode"),
        (RuntimeError("Failed to register worker to Raylet\n  a stack\n  of lines"), "Failed to register worker"),
        (RuntimeError(GCS), "RPC error: InvalidAuthToken: Authentication token is missing or incorrect"),
        (RuntimeError(""), "RuntimeError"),
    ],
)
def test_the_cause_comes_first_and_a_local_ray_has_no_hint(error: Exception, said: str) -> None:
    told = refused(error, None)
    assert told.startswith(f"cannot start on a local Ray: {said}")
    assert "RAY_AUTH_MODE" not in told
    assert "\n" not in told


def test_the_hint_is_for_causes_that_may_have_to_do_with_it() -> None:
    about = "cannot start on the cluster at 10.0.0.1:6379: "
    said = refused(RuntimeError(GCS), ADDRESS, {})
    assert said.startswith(f"{about}RPC error: InvalidAuthToken: ")
    assert said.endswith("(RAY_AUTH_MODE is not set here: is it that of the cluster, and the token the same?)")
    for words in ("failed to connect to all addresses", "Deadline Exceeded", "Connection refused", "UNAVAILABLE"):
        assert "RAY_AUTH_MODE is token here" in refused(ConnectionError(words), ADDRESS, {"RAY_AUTH_MODE": "token"})
    other = refused(RuntimeError("Version mismatch: The cluster was started with: Ray: 2.52"), ADDRESS, {})
    assert other == f"{about}Version mismatch: The cluster was started with: Ray: 2.52"


@given(st.text(), st.sampled_from([None, ADDRESS]))
def test_whatever_ray_says_is_one_line_with_the_cause_in_it(text: str, address: str | None) -> None:
    told = refused(RuntimeError(text), address)
    assert len(told.splitlines()) == 1
    assert cause(RuntimeError(text)) in told
    assert address is not None or "RAY_AUTH_MODE" not in told.replace(text, "")


def test_the_doctor_says_who_reaches_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {finding.what: finding.told for finding in doctor.guarded({})}
    assert "runs code" in told["tokens"]
    assert "all interfaces" in told["cluster ports"]
    assert [finding.what for finding in doctor.guarded({"RAY_AUTH_MODE": "token"})] == ["cluster ports"]
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    own = {finding.what: finding.told for finding in doctor.findings(ray=False)}
    assert "127.0.0.1 alone" in own["ports"]
    assert own_ray.OWN["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0", "which is why"


@pytest.mark.parametrize(
    ("hosts", "mode", "said"),
    [
        (["127.0.0.1"], None, False),
        (["127.0.0.1", "::1", "localhost"], "disabled", False),
        (["127.0.0.1", "10.0.0.7"], "token", False),
        (["127.0.0.1", "10.0.0.7"], None, True),
        (["head.cluster"], "disabled", True),
        ([], None, False),
    ],
)
def test_a_cluster_that_others_reach_without_a_token_is_named(hosts: list[str], mode: str | None, said: bool) -> None:
    told = own_ray.exposed(hosts, {} if mode is None else {"RAY_AUTH_MODE": mode})
    assert (told is not None) == said
    assert not said or f"listens beyond this machine ({hosts[-1]})" in str(told)
