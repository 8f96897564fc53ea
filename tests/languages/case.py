"""What a language must prove: programs beside a `cases.toml` that says what each of them has to do."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sentinel.v1 import scheduler_pb2, submission_pb2

HERE = Path(__file__).parent
REQUIRED = ("hello", "echo", "broken", "crash", "program", "library", "several")
"""Cases that no language goes without."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One program, sent in one way, and all that is known of its end. What is None is not looked at."""

    language: str
    name: str
    files: Sequence[str] = ()
    """Names within the folder named as the case, entry first. Empty: the one file named as the case is the source."""
    stdin: str = ""
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    compile_args: Sequence[str] = ()
    memory_limit_kb: int | None = None
    verdict: str = "SUCCESS"
    exit_code: int | None = None
    signal: int | None = None
    stdout: str | None = None
    stderr_has: str = ""
    compile_has: str = ""

    def __str__(self) -> str:
        """How pytest names it."""
        return f"{self.language}-{self.name}"

    def request(self, defaults: Mapping[str, int]) -> scheduler_pb2.SubmitRequest:
        """The submission, with these limits where the case has no own."""
        folder = HERE / self.language
        request = scheduler_pb2.SubmitRequest(
            language=self.language, stdin=self.stdin, args=self.args, env=self.env, compile_args=self.compile_args
        )
        for limit, value in defaults.items():
            setattr(request, limit, value)
        if self.memory_limit_kb is not None:
            request.memory_limit_kb = self.memory_limit_kb
        if self.files:
            for name in self.files:
                text = (folder / self.name / name).read_text()
                request.files.append(submission_pb2.SourceFile(name=name, content=text))
        else:
            (source,) = folder.glob(f"{self.name}.*")
            request.source_code = source.read_text()
        return request


def cases() -> list[Case]:
    """Every case of every language."""
    return [
        Case(language=path.parent.name, name=name, **fields)
        for path in sorted(HERE.glob("*/cases.toml"))
        for name, fields in tomllib.loads(path.read_text()).items()
    ]
