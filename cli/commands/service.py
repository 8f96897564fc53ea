"""`languages` and `health`: what the service can do now."""

from sentinel.v1 import status_pb2

from cli import exits, options, tables
from cli.commands.language import languages as list_languages
from cli.connection import Client
from cli.jsonout import as_dict, document
from cli.session import DEADLINE_SECONDS, call, perform


def languages(*, as_json: options.Json = False, endpoint: options.Endpoint = options.DEFAULT_ENDPOINT) -> None:
    """List what programs may be written in, with the versions that run here."""

    async def work(client: Client) -> int:
        known = await list_languages(client)
        if as_json:
            print(document(as_dict(status_pb2.ListLanguagesResponse(languages=known))))
        else:
            tables.languages(known)
        return 0

    perform(endpoint, work, as_json=as_json)


def health(*, as_json: options.Json = False, endpoint: options.Endpoint = options.DEFAULT_ENDPOINT) -> None:
    """Tell whether the service and what it leans on are well. Exits with 69 when they are not."""

    async def work(client: Client) -> int:
        request = status_pb2.GetHealthRequest()
        answer = await call(client, lambda: client.status.GetHealth(request, timeout=DEADLINE_SECONDS))
        if as_json:
            print(document(as_dict(answer)))
        else:
            tables.health(answer)
        return 0 if answer.status == "ok" else exits.UNAVAILABLE

    perform(endpoint, work, as_json=as_json)
