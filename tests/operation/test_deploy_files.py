"""The deployment's files say what its README does; Docker itself is not here."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from faq_pipeline.settings import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
SERVICES = {"postgres", "code-server", "daemon", "webserver"}
SECRETS = ("FAQ_PG_PASSWORD", "HF_TOKEN", "FAQ_HUB_WRITE_TOKEN")
COMPOSE = ["docker", "compose", "--file", "deploy/docker-compose.yaml", "config", "--quiet"]


def read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    return dict(read("docker-compose.yaml")["services"])


def test_each_service_waits_for_what_it_needs_to_be_healthy(services: dict[str, dict[str, Any]]) -> None:
    assert set(services) == SERVICES
    assert all(service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL") for service in services.values())
    needs = {name: service.get("depends_on", {}) for name, service in services.items()}
    assert {name: set(need) for name, need in needs.items()} == {
        "postgres": set(),
        "code-server": {"postgres"},
        "daemon": {"postgres", "code-server"},
        "webserver": {"postgres", "code-server"},
    }
    assert {n["condition"] for need in needs.values() for n in need.values()} == {"service_healthy"}


def test_the_gpus_are_the_code_servers_alone(services: dict[str, dict[str, Any]]) -> None:
    devices = {
        name: service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices")
        for name, service in services.items()
    }
    assert devices.pop("code-server") == [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
    assert set(devices.values()) == {None}


def test_every_named_volume_is_declared_and_its_folder_belongs_to_the_user(
    services: dict[str, dict[str, Any]],
) -> None:
    mounts = [mount.split(":") for one in services.values() for mount in one.get("volumes", [])]
    named = {mount[0] for mount in mounts if re.fullmatch(r"[a-z]+", mount[0])}
    assert named == set(read("docker-compose.yaml")["volumes"])
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    (owned,) = re.findall(r"chown -R faq (.+)", dockerfile)
    written = {mount[1] for mount in mounts if mount[0] in named - {"postgres"}}
    assert set(owned.split()) == written


def test_secrets_come_from_the_environment(services: dict[str, dict[str, Any]]) -> None:
    values = {
        name: str(value) for one in services.values() for name, value in one.get("environment", {}).items()
    }
    for name in SECRETS:
        assert re.fullmatch(rf"\$\{{{name}:[-?][^}}]*\}}", values[name])
    for path in DEPLOY.glob("*.yaml"):
        written = re.search(r"(?i)(password|token): *[\"']?[a-z0-9]", path.read_text(encoding="utf-8"))
        assert written is None, written


def test_the_instance_is_the_top_level_one_on_postgres() -> None:
    deployed = read("dagster.yaml")
    (connection,) = deployed.pop("storage")["postgres"].values()
    assert deployed == yaml.safe_load((REPOSITORY / "dagster.yaml").read_text(encoding="utf-8"))
    environment = read("docker-compose.yaml")["services"]["daemon"]["environment"]
    (server,) = [one["grpc_server"] for one in read("workspace.yaml")["load_from"]]
    assert connection.pop("scheme").startswith("postgresql")
    asked = [*connection.values(), server["host"], server["port"]]
    assert all(set(value) == {"env"} and value["env"] in environment for value in asked)


def test_the_readme_names_every_variable() -> None:
    text = (DEPLOY / "docker-compose.yaml").read_text(encoding="utf-8")
    readme = (DEPLOY / "README.md").read_text(encoding="utf-8")
    variables = set(re.findall(r"\$\{([A-Z_]+)", text))
    assert {name for name in variables if f"`{name}`" not in readme} == set()


def test_the_code_is_where_the_image_looks_for_it() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    copied = re.findall(r"^COPY (.+) \S+$", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    for source in " ".join(copied).split():
        assert (REPOSITORY / source).exists()
        assert any(f"!{part}" in ignored for part in (source, *map(str, Path(source).parents)))


def has_compose() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not has_compose(), reason="docker compose is not here")
def test_compose_itself_accepts_the_file(tmp_path: Path) -> None:
    done = subprocess.run(
        COMPOSE,
        cwd=REPOSITORY,
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(tmp_path), "FAQ_PG_PASSWORD": "x"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
