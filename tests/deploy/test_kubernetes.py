"""The example for Kubernetes: each object has what its kind wants, and what names another one names one that is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate.core.keys import key_id_of
from tidegate.settings import Settings

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
OBJECTS: dict[tuple[str, str], dict[str, Any]] = {
    (one["kind"], one["metadata"]["name"]): one
    for file in KUSTOMIZATION["resources"]
    for one in yaml.safe_load_all((FOLDER / file).read_text())
}
VERSIONS = {
    "Namespace": "v1",
    "ConfigMap": "v1",
    "Secret": "v1",
    "PersistentVolumeClaim": "v1",
    "Service": "v1",
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "PodDisruptionBudget": "policy/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
}
WORKLOADS = [("Deployment", "tidegate-web"), ("StatefulSet", "tidegate-worker")]
each_workload = pytest.mark.parametrize("which", WORKLOADS, ids=lambda which: which[1])


def pod(which: tuple[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = OBJECTS[which]["spec"]["template"]["spec"]
    return found


def container(which: tuple[str, str]) -> dict[str, Any]:
    (only,) = pod(which)["containers"]
    found: dict[str, Any] = only
    return found


def labels(which: tuple[str, str]) -> dict[str, str]:
    found: dict[str, str] = OBJECTS[which]["spec"]["template"]["metadata"]["labels"]
    return found


def test_every_file_is_on_the_list():
    assert {path.name for path in FOLDER.glob("*.yaml")} == {
        *KUSTOMIZATION["resources"],
        "kustomization.yaml",
    }


def test_every_kind_has_its_version():
    assert {kind: OBJECTS[kind, name]["apiVersion"] for kind, name in OBJECTS} == VERSIONS


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_puts_the_example_together():
    command = ["kubectl", "kustomize", str(FOLDER)]
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if "dispatcher" in done.stderr or "not find" in done.stderr:
        pytest.skip(f"kubectl does not work here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    objects = list(yaml.safe_load_all(done.stdout))
    assert len(objects) == len(OBJECTS)
    assert {one["metadata"].get("namespace", "tidegate") for one in objects} == {"tidegate"}


@each_workload
def test_pods_keep_to_the_restricted_standard(which):
    assert pod(which)["securityContext"]["runAsNonRoot"] is True
    assert pod(which)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(which)["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod(which)["automountServiceAccountToken"] is False
    enforced = OBJECTS["Namespace", "tidegate"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert enforced == "restricted"


@each_workload
def test_a_pod_has_probes_limits_and_time_to_stop(which):
    found = container(which)
    assert {"startupProbe", "livenessProbe"} <= set(found)
    assert set(found["resources"]["limits"]) >= {"cpu", "memory"}
    grace_s = Settings.model_fields["grace_s"].default
    assert pod(which)["terminationGracePeriodSeconds"] >= 2 * grace_s
    ports = {port["name"] for port in found["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        if asked := found.get(probe, {}).get("httpGet"):
            assert asked["port"] in ports


def test_liveness_does_not_depend_on_load_and_readiness_says_whether_it_works():
    web = container(WORKLOADS[0])
    assert web["livenessProbe"]["httpGet"]["path"] == "/health"
    assert web["readinessProbe"]["httpGet"]["path"] == "/api/v1/health/ready"


def named(which: tuple[str, str]) -> Iterator[tuple[str, str]]:
    for source in container(which)["envFrom"]:
        yield "ConfigMap", source["configMapRef"]["name"]
    for volume in pod(which)["volumes"]:
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]


@each_workload
def test_what_is_named_is_there(which):
    assert [one for one in named(which) if one not in OBJECTS] == []
    volumes = {volume["name"] for volume in pod(which)["volumes"]}
    assert {mount["name"] for mount in container(which)["volumeMounts"]} == volumes
    for kind in ("Service", "PodDisruptionBudget"):
        found = [one for (its, _), one in OBJECTS.items() if its == kind]
        for one in found:
            selector = one["spec"]["selector"]
            chosen = selector.get("matchLabels", selector)
            assert any(chosen.items() <= labels(workload).items() for workload in WORKLOADS)


def test_the_shared_path_can_be_written_by_many():
    assert OBJECTS["PersistentVolumeClaim", "tidegate-shared"]["spec"]["accessModes"] == ["ReadWriteMany"]


def test_settings_are_files_where_they_hold_a_password():
    data = OBJECTS["ConfigMap", "tidegate-settings"]["data"]
    secret = OBJECTS["Secret", "tidegate-secrets"]["stringData"]
    files = {Path(value).name for name, value in data.items() if name.endswith("_FILE")}
    assert files == set(secret)
    assert not [name for name in data if name.endswith("_URL")]


def test_only_servers_get_the_first_key_and_the_command_for_it_makes_one():
    assert ("Secret", "tidegate-first-key") in named(WORKLOADS[0])
    assert ("Secret", "tidegate-first-key") not in named(WORKLOADS[1])
    (code,) = re.findall(r"python3 -c '(.+)'", (FOLDER / "secret.yaml").read_text())
    done = subprocess.run(["python3", "-c", code], capture_output=True, text=True, check=True)
    assert key_id_of(done.stdout.strip()) is not None


def test_workers_grow_with_the_wait_in_queues():
    spec = OBJECTS["HorizontalPodAutoscaler", "tidegate-worker"]["spec"]
    target = spec["scaleTargetRef"]
    assert (target["kind"], target["name"]) in OBJECTS
    # A number there would be set again each time the files are applied, and send away the workers above it.
    assert "replicas" not in OBJECTS[target["kind"], target["name"]]["spec"]
    (metric,) = spec["metrics"]
    assert metric["external"]["metric"]["name"] == "tidegate_queue_oldest_wait_seconds"


def test_nothing_is_open_but_what_a_rule_opens():
    default = OBJECTS["NetworkPolicy", "tidegate-default"]["spec"]
    assert default["podSelector"] == {}
    assert set(default["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in default
