"""Which language a program is in, asking the service where the command line does not say."""

from collections.abc import Sequence
from pathlib import Path

from sentinel.v1 import status_pb2

from cli import exits
from cli.connection import Client
from cli.faults import Fault
from cli.program import STANDARD_INPUT, available, language_of
from cli.session import DEADLINE_SECONDS, call

_UNKNOWN_LANGUAGE = "UNKNOWN_LANGUAGE"


async def languages(client: Client) -> Sequence[status_pb2.Language]:
    """What this deployment can run. Raises Fault."""
    request = status_pb2.ListLanguagesRequest()
    answer = await call(client, lambda: client.status.ListLanguages(request, timeout=DEADLINE_SECONDS))
    return answer.languages


async def choose(client: Client, language: str | None, main: Path) -> str:
    """The language as named, or the one that goes with the file. Raises Fault."""
    if language is not None:
        return language
    if main == STANDARD_INPUT:
        raise Fault("a program from standard input has no extension; name its language with --language", exits.USAGE)
    return language_of(main, await languages(client))


async def with_choices(client: Client, refused: Fault) -> Fault:
    """The same fault; where it is about an unknown language, with the known ones beside it."""
    if all(detail.get("reason") != _UNKNOWN_LANGUAGE for detail in refused.details):
        return refused
    known = await languages(client)
    if all(language.name in refused.text for language in known):
        return refused
    text = f"{refused.text} ({available(known)})"
    return Fault(text, refused.exit_code, code=refused.code, details=refused.details)
