"""The container files as they are written: what a linter would say, and the promises of requirements that need no engine."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate.testing.servers import free_port

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "deploy" / "docker"
VARIABLE = re.compile(r"\$\{(\w+)(?::-((?:[^}])*))?\}")
OURS = ("web", "worker")
PROFILES = {
    "small": {"MEMORY_LIMIT": "1024M", "CPU_LIMIT": "1.0"},
    "medium": {"MEMORY_LIMIT": "2048M", "CPU_LIMIT": "2.0"},
    "large": {"MEMORY_LIMIT": "4096M", "CPU_LIMIT": "4.0"},
}


def filled(text: str, given: dict[str, str] | None = None) -> str:
    """As Compose fills in variables: what is given, else the default."""
    return VARIABLE.sub(lambda found: (given or {}).get(found[1], found[2] or ""), text)


def compose(name: str = "compose.yaml", given: dict[str, str] | None = None) -> dict[str, Any]:
    return yaml.safe_load(filled((ROOT / name).read_text(), given))


def settings_of(name: str) -> dict[str, str]:
    lines = (ROOT / "deploy" / "compose" / f"{name}.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


SERVICES: dict[str, dict[str, Any]] = compose()["services"]
each_service = pytest.mark.parametrize("name", SERVICES)


# Compose


def test_the_whole_stack_is_there():
    assert set(SERVICES) == {"web", "worker", "secrets", "database", "redis", "prometheus", "grafana"}


@pytest.mark.parametrize("file", ["compose.yaml", "deploy/compose/mariadb.yaml"])
def test_every_variable_has_a_default(file):
    assert [found[0] for found in VARIABLE.finditer((ROOT / file).read_text()) if found[2] is None] == []


@each_service
def test_every_service_runs_on_a_named_version_with_as_little_as_it_needs(name):
    service = SERVICES[name]
    version = service["image"].rpartition(":")[2]
    assert re.match(r"v?\d", version), service["image"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] == 200
    assert service["ulimits"]["core"] == 0
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}  # else its log fills the disk
    assert "privileged" not in service
    assert ("networks" in service) != ("network_mode" in service)
    limits = service["deploy"]["resources"]["limits"]
    assert set(limits) == {"memory", "cpus"}


@pytest.mark.parametrize("name", OURS)
def test_limits_and_reservations_are_those_of_the_promise(name):
    resources = SERVICES[name]["deploy"]["resources"]
    assert resources == {
        "limits": {"memory": "2048M", "cpus": "2.0"},
        "reservations": {"memory": "512M", "cpus": "0.5"},
    }
    assert SERVICES[name]["ulimits"]["nofile"] == {"soft": 16384, "hard": 16384}
    assert "user" not in SERVICES[name]  # that of the image, which is not root
    assert not SERVICES[name].get("cap_add")


@pytest.mark.parametrize(("profile", "promise"), PROFILES.items())
def test_the_sizes_are_those_of_the_promise(profile, promise):
    given = settings_of(profile)
    assert promise.items() <= given.items()
    known = {found[1] for found in VARIABLE.finditer((ROOT / "compose.yaml").read_text())}
    assert set(given) <= known
    for name in OURS:
        limits = compose(given=given)["services"][name]["deploy"]["resources"]["limits"]
        assert limits == {"memory": promise["MEMORY_LIMIT"], "cpus": promise["CPU_LIMIT"]}


@each_service
def test_no_secret_stands_in_an_environment(name):
    for variable, value in SERVICES[name].get("environment", {}).items():
        if re.search(r"PASSWORD|TOKEN|SECRET|KEY|_URL", variable) and variable != "TIDEGATE_URL":
            assert variable.endswith("_FILE"), variable
            # None: the file is named where the stack is started, if at all.
            assert value is None or str(value).startswith("/run/tidegate/")


def test_only_servers_see_the_first_key():
    holders = [name for name, service in SERVICES.items() if "keys:" in str(service.get("volumes"))]
    assert holders == ["web"]


@pytest.mark.parametrize("file", ["compose.yaml", "deploy/compose/mariadb.yaml"])
def test_what_is_mounted_is_declared_or_lies_here(file):
    declared = set(compose()["volumes"])
    for service in compose(file)["services"].values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert source in declared or (ROOT / source).exists(), mount


def test_ports_are_published_on_loopback_unless_told():
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) == 3
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_what_holds_data_cannot_be_reached_from_outside():
    assert compose()["networks"]["back"]["internal"] is True
    assert all(SERVICES[name]["networks"] == ["back"] for name in ("database", "redis", "worker"))


def test_mariadb_takes_the_place_of_postgresql():
    other = compose("deploy/compose/mariadb.yaml")["services"]
    assert set(other) == {"secrets", "database"}
    assert other["database"]["image"] == "mariadb:10.11"
    folder = next(word for word in other["database"]["command"] if word.startswith("--datadir="))
    assert folder.startswith("--datadir=/data/")
    assert "database:/data" in SERVICES["database"]["volumes"]


def composes() -> list[list[str]]:
    found = []
    if (
        shutil.which("docker")
        and subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
    ):
        found.append(["docker", "compose"])
    if shutil.which("docker-compose"):
        found.append(["docker-compose"])
    return found


@pytest.mark.skipif(not composes(), reason="neither `docker compose` nor docker-compose is installed")
@pytest.mark.parametrize("more", [[], ["-f", "deploy/compose/mariadb.yaml"]], ids=["postgresql", "mariadb"])
def test_compose_takes_the_files(more):
    for program in composes():
        done = subprocess.run(
            [*program, "-f", "compose.yaml", *more, "config", "-q"],
            cwd=ROOT, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


# Dockerfile


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n\s*", " ", (DOCKER / "Dockerfile").read_text())
    lines = [line.strip() for line in text.splitlines()]
    return [tuple(line.split(None, 1)) for line in lines if line and not line.startswith("#")]  # type: ignore[misc]


def values(instruction: str) -> list[str]:
    return [value for name, value in instructions() if name == instruction]


def test_the_image_is_built_on_what_is_asked_for_and_names_no_registry():
    assert values("FROM") == ["${BASE_IMAGE} AS build", "${BASE_IMAGE}"]
    assert values("ARG")[0] == "BASE_IMAGE=python:3.11-slim-bookworm"
    assert {"PIP_INDEX_URL=", "APT_MIRROR="} <= set(values("ARG"))
    hosts = re.findall(r"[a-z]+://[\w.]+", "\n".join(value for _, value in instructions()))
    assert hosts == []


def test_the_image_is_not_root_and_says_how_it_is():
    assert values("USER") == ["10001:10001"]
    (health,) = values("HEALTHCHECK")
    for option in ("--interval=30s", "--timeout=10s", "--retries=3", "--start-period=40s"):
        assert option in health
    assert json.loads(values("ENTRYPOINT")[0]) == ["tini", "--"]
    assert json.loads(values("CMD")[0]) == ["start_web.sh"]


def test_the_layers_keep_nothing_they_do_not_need():
    assert values("ADD") == []
    (apt,) = [run for run in values("RUN") if "apt-get install" in run]
    assert "--no-install-recommends" in apt
    assert "rm -rf /var/lib/apt/lists/*" in apt
    assert "set -eu" in apt
    assert "PIP_NO_CACHE_DIR" in (DOCKER / "install.sh").read_text()


def test_what_is_copied_is_there_and_gets_into_the_context():
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for copied in values("COPY"):
        *sources, _ = copied.split()
        for source in sources:
            if copied.startswith("--from="):
                continue
            assert (ROOT / source).exists(), source
            assert any(source == place or source.startswith(f"{place}/") for place in allowed), source


def pins(file: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.\[\]-]+)==([^ ;\\]+)", (ROOT / file).read_text(), re.MULTILINE))


@pytest.mark.parametrize("file", ["deploy/requirements.lock", "deploy/build-requirements.lock"])
def test_what_is_deployed_is_what_was_tested(file):
    deployed = pins(file)
    assert deployed.items() <= pins("requirements.lock").items()
    assert not {"pytest", "mypy", "ruff"} & set(deployed)
    text = (ROOT / file).read_text()
    assert text.count("--hash=sha256:") >= len(deployed)


# What runs in the containers


def test_secrets_are_made_once(tmp_path):
    def make(kind: str) -> dict[str, str]:
        subprocess.run(
            ["sh", DOCKER / "make_secrets.sh", tmp_path],
            env={"PATH": os.environ["PATH"], "DATABASE": kind}, check=True,
        )  # fmt: skip
        return {path.name: path.read_text() for path in tmp_path.iterdir()}

    first, second = make("postgresql"), make("mariadb")
    passwords = {name for name in first if name.endswith("password")}
    assert len({first[name] for name in passwords}) == 4
    assert {name: first[name] for name in passwords} == {name: second[name] for name in passwords}
    assert first["database_url"] == f"postgresql://tidegate:{first['database_password']}@database/tidegate"
    assert (
        second["database_url"] == f"mariadb+pymysql://tidegate:{first['database_password']}@database/tidegate"
    )
    assert f"requirepass {first['redis_password']}\n" in first["redis.conf"]
    assert first["celery_broker_url"] == f"redis://:{first['redis_password']}@redis:6379/0"


def test_a_database_that_nobody_knows_is_refused(tmp_path):
    done = subprocess.run(
        ["sh", DOCKER / "make_secrets.sh", tmp_path],
        env={"PATH": os.environ["PATH"], "DATABASE": "oracle"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        2,
        "make_secrets: DATABASE must be postgresql or mariadb, not 'oracle'\n",
    )


class Answers(http.server.BaseHTTPRequestHandler):
    known: tuple[str, ...] = ()

    def do_GET(self) -> None:
        self.send_response(200 if self.path in self.known else 503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def listening(*known: str) -> Iterator[int]:
    """A port that answers these paths with 200 and all others with 503."""
    handler = type("Handler", (Answers,), {"known": known})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port
        server.shutdown()


def healthy(**ports: int) -> bool:
    command = [sys.executable, "-I", str(DOCKER / "health.py")]
    environment = {name: str(port) for name, port in ports.items()}
    return subprocess.run(command, env=environment, check=False).returncode == 0


def test_health_is_what_the_server_or_without_one_the_worker_answers():
    nobody = free_port()
    with listening("/health") as web, listening("/metrics") as metrics, listening() as ill:
        assert healthy(TIDEGATE_PORT=web)
        assert healthy(TIDEGATE_PORT=web, METRICS_PORT=nobody)
        assert healthy(TIDEGATE_PORT=nobody, METRICS_PORT=metrics)
        assert not healthy(
            TIDEGATE_PORT=ill, METRICS_PORT=metrics
        )  # metrics do not speak for a server that is stuck
        assert not healthy(TIDEGATE_PORT=nobody)
        assert not healthy(TIDEGATE_PORT=nobody, METRICS_PORT=nobody)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_takes_its_configuration(tmp_path):
    text = (ROOT / "deploy/prometheus/prometheus.yml").read_text()
    (tmp_path / "prometheus.yml").write_text(text.replace("/etc/prometheus/", f"{ROOT}/deploy/prometheus/"))
    done = subprocess.run(
        ["promtool", "check", "config", tmp_path / "prometheus.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_asked_for_metrics_is_what_tells_them():
    asked = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    for job in asked:
        (found,) = job["dns_sd_configs"]
        (service,) = found["names"]
        assert SERVICES[service]["environment"]["METRICS_PORT"] == str(found["port"])
        assert SERVICES[service]["environment"]["METRICS_HOST"] == "0.0.0.0"
    assert {"front", "back"} == set(SERVICES["prometheus"]["networks"])
