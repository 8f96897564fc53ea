"""Languages are data: one file each. This module reads them, asks the machine for versions, and fills in commands."""

import re
import subprocess
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from sentinel.v1 import status_pb2

ARTEFACT = "/tmp/program"  # noqa: S108 - inside the jail, where /tmp is its own
"""Where a compiler leaves the program: outside /work, so that no file of a submission can stand in its way."""

_PLACEHOLDERS = {"{entry}", "{sources}", "{artefact}"}
Argv = Annotated[tuple[str, ...], Field(min_length=1)]


class LanguageFileError(Exception):
    """A language file is wrong; the text names file and field."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Detection(_Strict):
    """How the machine tells what it has."""

    argv: Argv
    version: str
    """Regular expression on the first output; its one group is the version."""
    compiler: str | None = None
    """Shown as `compiler`, with {version}."""
    display_version: str | None = None
    """Shown as `version` instead, such as C17; the compiler then carries the number."""

    @field_validator("version")
    @classmethod
    def _one_group(cls, value: str) -> str:
        if re.compile(value).groups != 1:
            raise ValueError("needs exactly one group")
        return value


class Compilation(_Strict):
    """How source becomes a program. These limits are the compiler's own; those of the submission are for the run."""

    argv: Argv
    sources: Annotated[tuple[str, ...], Field(min_length=1)]
    """Extensions of the files that {sources} stands for."""
    wall_ms: int = Field(10_000, gt=0)
    cpu_ms: int = Field(20_000, gt=0)
    memory_bytes: int = Field(512 << 20, gt=0)
    processes: int = Field(128, gt=0)
    output_bytes: int = Field(64 << 10, gt=0)
    file_bytes: int = Field(64 << 20, gt=0)


class Run(_Strict):
    """How a program is started."""

    argv: Argv
    env: dict[str, str] = Field(default_factory=dict)


class Language(_Strict):
    """One language file."""

    name: str = Field(pattern=r"^[a-z][a-z0-9]{0,31}$")
    display_name: str
    aliases: tuple[str, ...] = ()
    extension: str = Field(pattern=r"^\.[a-z0-9]+$")
    entry: str = Field(pattern=r"^[A-Za-z0-9_]+\.[a-z0-9]+$")
    """File name given to `source_code`."""
    template: str
    detect: Detection
    compile: Compilation | None = None
    run: Run

    @field_validator("compile", "run")
    @classmethod
    def _known_placeholders(cls, value: Compilation | Run | None) -> Compilation | Run | None:
        for word in value.argv if value is not None else ():
            unknown = set(re.findall(r"{\w*}", word)) - _PLACEHOLDERS
            if unknown:
                raise ValueError(f"unknown placeholder {', '.join(sorted(unknown))}")
        return value

    def compile_argv(self, files: Sequence[str]) -> list[str]:
        """The compiler's command line for these files; the first is the entry. Only for compiled languages."""
        if self.compile is None:
            raise LanguageFileError(f"{self.name} is not compiled")
        sources = [f for f in files if f.endswith(self.compile.sources)] or [files[0]]
        return _fill(self.compile.argv, files[0], sources)

    def run_argv(self, files: Sequence[str], args: Iterable[str]) -> list[str]:
        """The program's command line, with the submission's own arguments."""
        return [*_fill(self.run.argv, files[0], files), *args]


def _fill(argv: Sequence[str], entry: str, sources: Sequence[str]) -> list[str]:
    filled: list[str] = []
    for word in argv:
        if word == "{sources}":
            filled += [f"./{source}" for source in sources]
        else:
            filled.append(word.replace("{entry}", entry).replace("{artefact}", ARTEFACT))
    return filled


def load_languages(directory: Path) -> list[Language]:
    """Every language file of a directory, by name. Raises LanguageFileError."""
    languages: dict[str, Language] = {}
    words: dict[str, str] = {}
    for path in sorted(directory.glob("*.toml")):
        try:
            language = Language.model_validate(tomllib.loads(path.read_text()))
        except (tomllib.TOMLDecodeError, ValidationError) as error:
            raise LanguageFileError(f"{path.name}: {error}") from error
        for word in (language.name, *language.aliases):
            if other := words.get(word):
                raise LanguageFileError(f"{path.name}: {word} already means {other}")
            words[word] = language.name
        languages[language.name] = language
    if not languages:
        raise LanguageFileError(f"no language files in {directory}")
    return list(languages.values())


def detect(language: Language) -> str | None:
    """The version this machine has, or None where it lacks the language. Runs a trusted command of the machine."""
    try:
        done = subprocess.run(
            language.detect.argv,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(language.detect.version, done.stdout + done.stderr) if done.returncode == 0 else None
    return match[1] if match else None


def describe(language: Language, version: str, limits: status_pb2.DefaultLimits) -> status_pb2.Language:
    """The language as the scheduler is told of it."""
    compiler = language.detect.compiler
    return status_pb2.Language(
        name=language.name,
        display_name=language.display_name,
        version=language.detect.display_version or version,
        compiler=compiler.format(version=version) if compiler else None,
        aliases=language.aliases,
        file_extension=language.extension,
        default_limits=limits,
        template=language.template.lstrip("\n"),
        compiled=language.compile is not None,
    )
