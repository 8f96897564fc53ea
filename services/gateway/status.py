"""StatusService: what became of submissions and what this deployment can do. Changes nothing."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from uuid import UUID

from sentinel.v1 import evidence_pb2, status_pb2, status_pb2_grpc

from services.gateway import page_token
from services.gateway.health import Health
from services.gateway.metrics import STREAM_SUBSCRIBERS
from services.record import convert
from services.record.model import Record, State, Verdict, state_and_verdict
from services.record.reader import LanguageCatalogue
from services.record.watch import Sources, finished, watch

SERVICE = "sentinel.v1.StatusService"
_DEFAULT_PAGE_SIZE = 20


class StatusService(status_pb2_grpc.StatusServiceServicer):
    """Every method is a read; the guard has checked the request against its rules."""

    def __init__(self, sources: Sources, languages: LanguageCatalogue, health: Health) -> None:
        self._sources = sources
        self._languages = languages
        self._health = health

    async def GetSubmission(  # noqa: N802 - the name in the proto
        self, request: status_pb2.GetSubmissionRequest, context: Any
    ) -> status_pb2.GetSubmissionResponse:
        """One submission; waits for its end at most `wait_ms`. Raises UnknownJob, Unavailable."""
        job = UUID(request.job_id)
        record = await (
            finished(job, self._sources, request.wait_ms / 1000) if request.wait_ms else self._sources.reader.get(job)
        )
        return status_pb2.GetSubmissionResponse(submission=convert.submission(record))

    async def ListSubmissions(  # noqa: N802 - the name in the proto
        self, request: status_pb2.ListSubmissionsRequest, context: Any
    ) -> status_pb2.ListSubmissionsResponse:
        """A page, newest first. Raises InvalidField for a token made under other filters, Unavailable."""
        filters = page_token.Filters(request.status, request.language)
        size = request.page_size if request.HasField("page_size") else _DEFAULT_PAGE_SIZE
        # One more than asked for: whether it is there tells whether there is another page.
        records = await self._page(filters, page_token.read(request.page_token, filters), size + 1)
        page = records[:size]
        return status_pb2.ListSubmissionsResponse(
            submissions=[convert.submission(record, output=False, source=False) for record in page],
            next_page_token=page_token.make(page[-1].id, filters) if len(records) > size else "",
        )

    async def WatchSubmission(  # noqa: N802 - the name in the proto
        self, request: status_pb2.WatchSubmissionRequest, context: Any
    ) -> AsyncIterator[status_pb2.WatchSubmissionResponse]:
        """Snapshot, events, result. Raises UnknownJob, Unavailable (also when this gateway drains)."""
        offsets = {
            evidence_pb2.STREAM_STDOUT: request.stdout_offset,
            evidence_pb2.STREAM_STDERR: request.stderr_offset,
            evidence_pb2.STREAM_COMPILE: request.compile_offset,
        }
        events = watch(
            UUID(request.job_id),
            self._sources,
            after=request.after_sequence,
            offsets=offsets if any(offsets.values()) else None,
        )
        with STREAM_SUBSCRIBERS.labels("grpc").track_inprogress():
            async with aclosing(events):
                async for event in events:
                    yield status_pb2.WatchSubmissionResponse(event=event)

    async def ListLanguages(  # noqa: N802 - the name in the proto
        self, request: status_pb2.ListLanguagesRequest, context: Any
    ) -> status_pb2.ListLanguagesResponse:
        """What executors offer, by name. Raises Unavailable."""
        return status_pb2.ListLanguagesResponse(languages=await self._languages.all())

    async def GetHealth(  # noqa: N802 - the name in the proto
        self, request: status_pb2.GetHealthRequest, context: Any
    ) -> status_pb2.GetHealthResponse:
        """The last answers of the probes; asks nobody. The edge turns `x-http-code` into the HTTP status."""
        response = self._health.answer()
        if response.status != "ok":
            await context.send_initial_metadata((("x-http-code", "503"),))
        return response

    async def _page(self, filters: page_token.Filters, before: UUID | None, limit: int) -> list[Record]:
        state: State | None = None
        verdict: Verdict | None = None
        if filters.status:
            state, verdict = state_and_verdict(filters.status)
        return await self._sources.reader.newest(
            before=before, limit=limit, state=state, verdict=verdict, language=filters.language or None
        )
