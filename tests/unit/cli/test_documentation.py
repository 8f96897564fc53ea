"""What the documents say of names, defaults and places is so."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from cli import exits
from services.executor.settings import Settings as ExecutorSettings
from services.gateway.settings import Settings as GatewaySettings
from services.kit.settings import ServiceSettings
from services.scheduler.settings import Settings as SchedulerSettings

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md")]
CONFIGURATION = (ROOT / "docs/configuration.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]

    assert not missing


@pytest.mark.parametrize(
    ("heading", "settings"),
    [
        ("Every service", ServiceSettings),
        ("Scheduler", SchedulerSettings),
        ("Gateway", GatewaySettings),
        ("Executor", ExecutorSettings),
    ],
)
def test_every_variable_is_documented_with_its_default(heading: str, settings: type[ServiceSettings]) -> None:
    section = CONFIGURATION.split(f"## {heading}\n")[1].split("\n## ")[0]
    inherited = set() if settings is ServiceSettings else set(ServiceSettings.model_fields)

    for name, field in settings.model_fields.items():
        if name in inherited:
            continue
        row = next((line for line in section.splitlines() if f"`{name.upper()}`" in line.partition(" | ")[0]), "")
        assert row, f"{name.upper()} is not documented"
        default = field.default
        if type(default) is int:
            assert str(default) in row, row
        elif isinstance(default, timedelta):
            assert f"`{default.total_seconds():g}s`" in row, row


def test_every_exit_code_is_documented() -> None:
    table = (ROOT / "docs/api.md").read_text().split("## Exit codes of the command line")[1]
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    codes = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}

    assert documented == codes


def test_every_make_target_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = {target for page in PAGES for target in re.findall(r"`make ([a-z-]+)", page.read_text())}

    assert {target for target in named if not re.search(rf"^{target}:", makefile, re.MULTILINE)} == set()
