"""From files and options to a SubmitRequest."""

import os
import stat
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from sentinel.v1 import scheduler_pb2, status_pb2, submission_pb2

from cli import exits
from cli.faults import Fault

STANDARD_INPUT = Path("-")
_MOST_SOURCE_BYTES = 64 * 1024
_MOST_STDIN_BYTES = 256 * 1024


def new_key() -> str:
    """A fresh idempotency key: with one, asking again after a broken line makes no second submission."""
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says beside the files. None leaves a limit to the service."""

    stdin: Path | None = None
    args: Sequence[str] = ()
    env: Sequence[str] = ()
    compile_args: Sequence[str] = ()
    time_limit_ms: int | None = None
    cpu_time_limit_ms: int | None = None
    memory_limit_kb: int | None = None
    output_limit_kb: int | None = None
    process_limit: int | None = None
    network: bool = False
    idempotency_key: str = field(default_factory=new_key)


def build(language: str, files: Sequence[Path], options: Options) -> scheduler_pb2.SubmitRequest:
    """The request for these files, the first of which is the one that is started. Raises Fault."""
    request = scheduler_pb2.SubmitRequest(
        language=language,
        args=options.args,
        compile_args=options.compile_args,
        env=dict(_assignment(text) for text in options.env),
        time_limit_ms=options.time_limit_ms,
        cpu_time_limit_ms=options.cpu_time_limit_ms,
        memory_limit_kb=options.memory_limit_kb,
        output_limit_kb=options.output_limit_kb,
        process_limit=options.process_limit,
        network=options.network,
        idempotency_key=options.idempotency_key,
        stdin_base64=_stdin(options.stdin, source_takes_it=STANDARD_INPUT in files),
    )
    sources = [(path, _source(path)) for path in files]
    if not sources[0][1]:
        raise Fault(f"{files[0]} is empty", exits.NO_INPUT)
    if len(sources) == 1 and (text := _text(sources[0][1])) is not None:
        request.source_code = text
        return request
    root = files[0].parent
    request.files.extend(_file(_name(path, root), content) for path, content in sources)
    return request


def language_of(path: Path, languages: Sequence[status_pb2.Language]) -> str:
    """The language whose name, alias or extension the file's extension is. Raises Fault, listing what there is.

    Names first: two languages may share an extension, as Python and PyPy do, but never a name.
    """
    extension = path.suffix.lower()
    for language in languages:
        if extension and extension[1:] in (language.name, *language.aliases):
            return language.name
    for language in languages:
        if extension and extension == language.file_extension:
            return language.name
    what = f"the extension {extension} of {path}" if extension else f"{path}, which has no extension"
    raise Fault(f"no language goes with {what}; name one with --language ({available(languages)})", exits.REFUSED)


def available(languages: Sequence[status_pb2.Language]) -> str:
    """The names that `--language` takes, for people."""
    names = ", ".join(language.name for language in languages)
    return f"available: {names}" if names else "no executor is connected, so none is available"


def _assignment(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found:
        raise Fault(f"--env {text}: write NAME=VALUE", exits.USAGE)
    return name, value


def _source(path: Path) -> bytes:
    return _read(path, _MOST_SOURCE_BYTES, "a source file may hold 64 KiB")


def _stdin(path: Path | None, *, source_takes_it: bool) -> bytes:
    if path is None:
        if source_takes_it or not _is_piped(sys.stdin.buffer):
            return b""
        path = STANDARD_INPUT
    elif path == STANDARD_INPUT and source_takes_it:
        raise Fault("standard input cannot be both the source and the program's input", exits.USAGE)
    return _read(path, _MOST_STDIN_BYTES, "the program's standard input may hold 256 KiB")


def _is_piped(stream: BinaryIO) -> bool:
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def _read(path: Path, most: int, rule: str) -> bytes:
    try:
        if path == STANDARD_INPUT:
            content = sys.stdin.buffer.read(most + 1)
        else:
            with path.open("rb") as file:
                content = file.read(most + 1)
    except OSError as error:
        raise Fault(f"{path}: {error.strerror}", exits.NO_INPUT) from error
    if len(content) > most:
        raise Fault(f"{path} is too large: {rule}", exits.NO_INPUT)
    return content


def _text(content: bytes) -> str | None:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _file(name: str, content: bytes) -> submission_pb2.SourceFile:
    text = _text(content)
    if text is None:
        return submission_pb2.SourceFile(name=name, content_base64=content)
    return submission_pb2.SourceFile(name=name, content=text)


def _name(path: Path, root: Path) -> str:
    """Files keep their place beside the first one; a file from elsewhere comes to lie next to it."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
