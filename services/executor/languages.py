"""Languages are data: one file each. This module reads them, asks the machine for versions, and fills in commands."""

import re
import stat
import subprocess
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from sentinel.v1 import status_pb2

ARTEFACT = "/tmp/program"  # noqa: S108 - inside the jail, where /tmp is its own
"""Where a compiler leaves the program: outside /work, so that no file of a submission can stand in its way."""

SHARED = "/.base/languages"
"""Where the files of languages lie inside the jail, a folder each; see `jail_files`."""

_PLACEHOLDERS = {"{entry}", "{stem}", "{sources}", "{options}", "{artefact}", "{files}", "{memory_mb}"}
Argv = Annotated[tuple[str, ...], Field(min_length=1)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+_-]*$")]
Option = Annotated[str, Field(pattern=r"^-[!-~]+$", max_length=64)]


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
    env: dict[str, str] = Field(default_factory=dict)
    sources: tuple[str, ...] = ()
    """Extensions of the files that {sources} stands for."""
    entry_last: bool = False
    """{sources} ends with the entry: for compilers that want a module before its users."""
    beside_entry: bool = False
    """{sources} are only those in the entry's folder: for compilers that find other packages by their imports."""
    options: tuple[Option, ...] = ()
    """What a submission may add, word for word; {options} stands for its choice."""
    wall_ms: int = Field(10_000, gt=0)
    cpu_ms: int = Field(20_000, gt=0)
    memory_bytes: int = Field(512 << 20, gt=0)
    processes: int = Field(128, gt=0)
    output_bytes: int = Field(64 << 10, gt=0)
    file_bytes: int = Field(64 << 20, gt=0)

    @model_validator(mode="after")
    def _placeholders_have_a_meaning(self) -> Self:
        for placeholder, given in (("{sources}", self.sources), ("{options}", self.options)):
            if (placeholder in self.argv) != bool(given):
                raise ValueError(f"{placeholder} in argv and {placeholder[1:-1]} need each other")
        return self


class Run(_Strict):
    """How a program is started."""

    argv: Argv
    env: dict[str, str] = Field(default_factory=dict)


class Needs(_Strict):
    """What jails must hold beside the machine's /usr."""

    etc: tuple[FileName, ...] = ()
    """Folders of the machine's /etc that the toolchain reads. Only what everybody may read is copied."""
    files: tuple[FileName, ...] = ()
    """Files of ours, in a folder named as the language beside its file; {files} stands for that folder in the jail."""


class DefaultLimits(_Strict):
    """Limits where a submission names none and the deployment's own would not fit the language."""

    memory_kb: int | None = Field(None, ge=4096, le=1_048_576)
    processes: int | None = Field(None, ge=1, le=256)


class Language(_Strict):
    """One language file."""

    name: str = Field(pattern=r"^[a-z][a-z0-9]{0,31}$")
    display_name: str
    aliases: tuple[str, ...] = ()
    extension: str = Field(pattern=r"^\.[a-z0-9]+$")
    entry: str = Field(pattern=r"^[A-Za-z0-9_]+\.[a-z0-9]+$")
    """File name given to `source_code`."""
    template: str
    packages: Annotated[tuple[FileName, ...], Field(min_length=1)]
    """Debian packages that bring it: what `make languages` installs."""
    detect: Detection
    needs: Needs = Needs()
    limits: DefaultLimits = DefaultLimits()
    compile: Compilation | None = None
    run: Run

    @field_validator("compile", "run")
    @classmethod
    def _known_placeholders(cls, value: Compilation | Run | None) -> Compilation | Run | None:
        for word in (*value.argv, *value.env.values()) if value is not None else ():
            unknown = set(re.findall(r"{\w*}", word)) - _PLACEHOLDERS
            if unknown:
                raise ValueError(f"unknown placeholder {', '.join(sorted(unknown))}")
        return value

    def refused_option(self, options: Iterable[str]) -> str | None:
        """The first compiler option that is not allowed, if there is one."""
        allowed = self.compile.options if self.compile is not None else ()
        return next((option for option in options if option not in allowed), None)

    def compile_command(
        self, files: Sequence[str], options: Sequence[str], env: Mapping[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        """The compiler's command line and environment; the first file is the entry. Only for compiled languages."""
        if self.compile is None:
            raise LanguageFileError(f"{self.name} is not compiled")
        entry, *_ = files
        sources = [f for f in files if f.endswith(self.compile.sources)] or [entry]
        if self.compile.beside_entry:
            sources = [f for f in sources if PurePosixPath(f).parent == PurePosixPath(entry).parent]
        if self.compile.entry_last and entry in sources:
            sources = [*(source for source in sources if source != entry), entry]
        # A file named like an option is one no more behind its folder.
        many = {"{sources}": [f"./{source}" for source in sources], "{options}": [*options]}
        single = self._single(entry, self.compile.memory_bytes)
        argv = [filled for word in self.compile.argv for filled in many.get(word, [_fill(word, single)])]
        return argv, {**env, **_fill_all(self.compile.env, single)}

    def run_command(
        self, files: Sequence[str], args: Iterable[str], memory_bytes: int, env: Mapping[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        """The program's command line, with the submission's own arguments, and our part of its environment."""
        single = self._single(files[0], memory_bytes)
        argv = [_fill(word, single) for word in self.run.argv]
        return [*argv, *args], {**env, **_fill_all(self.run.env, single)}

    def _single(self, entry: str, memory_bytes: int) -> dict[str, str]:
        """What stands for one word or for a part of it."""
        return {
            "{entry}": entry,
            "{stem}": str(PurePosixPath(entry).with_suffix("")),
            "{artefact}": ARTEFACT,
            "{files}": f"{SHARED}/{self.name}",
            "{memory_mb}": str(max(1, memory_bytes >> 20)),
        }


def _fill(word: str, single: Mapping[str, str]) -> str:
    return re.sub(r"{\w+}", lambda found: single.get(found[0], found[0]), word)


def _fill_all(env: Mapping[str, str], single: Mapping[str, str]) -> dict[str, str]:
    return {name: _fill(value, single) for name, value in env.items()}


def jail_files(languages: Iterable[Language], directory: Path) -> dict[str, bytes]:
    """What these languages need in every jail, by path beneath our part of its root. Raises LanguageFileError."""
    found: dict[str, bytes] = {}
    for language in languages:
        for name in language.needs.files:
            try:
                found[f"languages/{language.name}/{name}"] = (directory / language.name / name).read_bytes()
            except OSError as error:
                raise LanguageFileError(f"{language.name} needs {name}: {error.strerror}") from error
        for folder in language.needs.etc:
            # Links are followed here, so that none of them leads anywhere from inside the jail.
            for path in sorted(Path("/etc", folder).rglob("*")):
                if path.is_file() and path.stat().st_mode & stat.S_IROTH:
                    found[str(path).lstrip("/")] = path.read_bytes()
    return found


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
    fitting = status_pb2.DefaultLimits()
    fitting.CopyFrom(limits)
    fitting.memory_limit_kb = language.limits.memory_kb or limits.memory_limit_kb
    fitting.process_limit = language.limits.processes or limits.process_limit
    return status_pb2.Language(
        name=language.name,
        display_name=language.display_name,
        version=language.detect.display_version or version,
        compiler=compiler.format(version=version) if compiler else None,
        aliases=language.aliases,
        file_extension=language.extension,
        default_limits=fitting,
        template=language.template.lstrip("\n"),
        compiled=language.compile is not None,
        compile_options=language.compile.options if language.compile is not None else (),
    )
