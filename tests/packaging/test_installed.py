"""Without a checkout: what ships is there, and nothing depends on where it lies."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest

import faq_pipeline
from faq_pipeline.settings import REPOSITORY
from tests.packaging.conftest import Installed, run_python

HOME = "from faq_pipeline.settings import Settings; print(Settings.from_environment().home)"


def files(folder: Path) -> dict[str, bytes]:
    """Files by their path, without what Python or a test has cached among them."""
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_the_build_holds_what_ships_byte_for_byte(installed: Installed) -> None:
    shipped = installed.package / "shipped"
    beside = ("dagster.yaml", "workspace.yaml", "workspace_studies.yaml")
    assert {path.name for path in shipped.iterdir()} == {"data", *beside}
    assert files(shipped / "data") == files(REPOSITORY / "data")
    for name in beside:
        assert (shipped / name).read_bytes() == (REPOSITORY / name).read_bytes()


def test_the_build_holds_every_file_of_the_package_and_nothing_else(installed: Installed) -> None:
    built = {name for name in files(installed.package) if not name.startswith("shipped/")}
    assert built == set(files(REPOSITORY / "faq_pipeline"))
    assert {"py.typed", "__init__.py"} < built and any(name.endswith("vllm-cuda.txt") for name in built)


def test_an_editable_installation_copies_nothing(tmp_path: Path) -> None:
    code = "import sys; from setuptools import build_meta; build_meta.build_editable(sys.argv[1])"
    run_python(REPOSITORY, "-c", code, str(tmp_path))
    (wheel,) = tmp_path.glob("*.whl")
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if "shipped" in name or "data" in name]
    assert not (REPOSITORY / "faq_pipeline/shipped").exists()


def test_home_is_the_users_without_a_checkout_and_beside_the_code_in_one(
    installed: Installed, tmp_path: Path
) -> None:
    assert installed.python("-c", HOME) == str(installed.user / ".local/share/faq-pipeline")
    elsewhere = installed.python("-c", HOME, XDG_DATA_HOME=tmp_path)
    assert elsewhere == str(tmp_path / "faq-pipeline")
    assert installed.python("-c", HOME, FAQ_HOME=tmp_path / "own") == str(tmp_path / "own")
    assert run_python(tmp_path, "-c", HOME, PYTHONPATH=REPOSITORY) == str(REPOSITORY / ".faq")


def test_dagsters_home_follows_the_package(installed: Installed, tmp_path: Path) -> None:
    code = "from faq_pipeline.settings import Settings; print(Settings.from_environment().dagster_home())"
    home = Path(installed.python("-c", code, FAQ_HOME=tmp_path / "home"))
    assert home == tmp_path / "home/dagster"
    assert (home / "dagster.yaml").resolve() == installed.package / "shipped/dagster.yaml"
    (home / "dagster.yaml").unlink()
    (home / "dagster.yaml").symlink_to(tmp_path / "an environment that was removed/dagster.yaml")
    installed.python("-c", code, FAQ_HOME=tmp_path / "home")
    assert (home / "dagster.yaml").read_bytes() == (REPOSITORY / "dagster.yaml").read_bytes()


def test_fingerprints_do_not_depend_on_where_the_package_lies(installed: Installed, tmp_path: Path) -> None:
    command = ("-m", "faq_pipeline", "run", "--recipe", "rtn-w3a16", "--dry-run", "--json")
    there = json.loads(installed.python(*command, FAQ_HOME=tmp_path / "there", FAQ_DEVICE="cpu"))
    here = json.loads(
        run_python(tmp_path, *command, PYTHONPATH=REPOSITORY, FAQ_HOME=tmp_path / "here", FAQ_DEVICE="cpu")
    )
    assert there["plan"] and there == here and any(row["fingerprint"] for row in here["plan"])


def test_a_folder_of_the_users_works_beside_what_ships(
    installed: Installed, tiny_data: Path, tmp_path: Path
) -> None:
    """In an empty folder, with FAQ_DATA naming a good folder, a run of its member is planned."""
    command = ("-m", "faq_pipeline", "run", "--member", "tiny-s", "--recipe", "tiny-faq", "--dry-run")
    settings = {"FAQ_DATA": tiny_data, "FAQ_HOME": tmp_path / "home", "FAQ_DEVICE": "cpu"}
    assert json.loads(installed.python(*command, "--json", **settings))["plan"]


def test_the_doctor_finds_nothing_missing_in_an_empty_home(installed: Installed) -> None:
    found = json.loads(installed.python("-m", "faq_pipeline", "doctor", "--json"))["checks"]
    assert [row for row in found if row["problem"]] == []
    rows = {row["what"]: row["found"] for row in found}
    assert rows["faq-pipeline"] == faq_pipeline.__version__ and "kin" in rows["families"]


def test_a_repository_around_the_package_is_not_taken_for_its_own(installed: Installed) -> None:
    if shutil.which("git") is None:
        pytest.skip("no git here")
    outer = installed.site.parent
    subprocess.run(["git", "init", "--quiet", str(outer)], check=True)
    commit = ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--allow-empty", "-m", "x"]
    subprocess.run(["git", "-C", str(outer), *commit], check=True)
    code = "from faq_pipeline.study.execution.machine import machine; print(machine('cpu')['commit'])"
    assert installed.python("-c", code) == "unknown"
    assert installed.python("-c", code, FAQ_COMMIT="abc") == "abc"


def test_the_version_has_one_source() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in project["project"] and project["project"]["dynamic"] == ["version"]
    told = run_python(REPOSITORY, "-m", "faq_pipeline", "--version", PYTHONPATH=REPOSITORY)
    assert told == f"faq {faq_pipeline.__version__}"
    assert re.fullmatch(r"\d+\.\d+\.\d+", faq_pipeline.__version__)


def test_the_licence_is_the_one_that_is_declared() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["license"] == "Apache-2.0" and project["license-files"] == ["LICENSE"]
    text = (REPOSITORY / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "Version 2.0, January 2004" in text and len(text) > 11_000


def test_nothing_is_asked_of_the_folder_that_a_user_stands_in(installed: Installed, tmp_path: Path) -> None:
    """A project of the user's own, with a `data` folder and a pyproject.toml, is not a checkout of ours."""
    for name in ("data/families", "faq_pipeline"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "mine"\n')
    environment = {"HOME": installed.user, "PYTHONPATH": installed.site}
    assert run_python(tmp_path, "-P", "-c", HOME, **environment).startswith(str(installed.user))
    assert not (tmp_path / ".faq").exists()
