"""From a request to an accepted submission: check, fill every default, commit, hand to the relay."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from sentinel.v1 import scheduler_pb2, status_pb2

from services.kit.errors import BacklogFull, InvalidField, KeyReused, SentinelError, Unavailable, Violation
from services.kit.grpc_server import validate
from services.kit.rpc_metrics import ADMISSION_REJECTED
from services.kit.trace import current_trace
from services.record.reader import LanguageCatalogue
from services.scheduler import metrics
from services.scheduler.model import Accepted, Draft, KeyTaken
from services.scheduler.relay import Relay
from services.scheduler.store import Store
from services.scheduler.uuid7 import UuidSource

PUBLIC_TENANT = "public"
_OUTPUT_LIMIT_KB = 64
_PROCESS_LIMIT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What a submission gets where it asks for nothing."""

    time_limit_ms: int
    memory_limit_kb: int
    output_limit_kb: int = _OUTPUT_LIMIT_KB
    process_limit: int = _PROCESS_LIMIT
    allow_network: bool = False


class Intake:
    """Accepts submissions. Accepted means committed."""

    def __init__(
        self,
        store: Store,
        relay: Relay,
        languages: LanguageCatalogue,
        ids: UuidSource,
        *,
        defaults: Defaults,
        max_unpublished: int,
    ) -> None:
        self._store = store
        self._relay = relay
        self._languages = languages
        self._ids = ids
        self._defaults = defaults
        self._max_unpublished = max_unpublished

    async def accept(
        self, request: scheduler_pb2.SubmitRequest, *, key: str = "", interactive: bool = False
    ) -> Accepted:
        """Commits the submission and returns its receipt. The request is checked already.

        Raises InvalidField, KeyReused, BacklogFull, Unavailable.
        """
        try:
            accepted = await self._accept(request, key, interactive=interactive)
        except SentinelError:
            metrics.SUBMISSIONS.labels("", "refused").inc()
            raise
        return accepted

    async def accept_item(self, request: scheduler_pb2.SubmitRequest) -> scheduler_pb2.BatchItem:
        """One item of a batch: its receipt, or what is wrong with it."""
        try:
            validate(request)
            accepted = await self.accept(request)
        except SentinelError as error:
            return scheduler_pb2.BatchItem(error=error.status())
        return scheduler_pb2.BatchItem(job_id=str(accepted.id), status=accepted.status)

    async def _accept(self, request: scheduler_pb2.SubmitRequest, key: str, *, interactive: bool) -> Accepted:
        if self._relay.backlog > self._max_unpublished:
            ADMISSION_REJECTED.labels("backlog_full").inc()
            raise BacklogFull("too many submissions wait to be queued; try again later")
        key = request.idempotency_key or key
        draft = await self._draft(request, key, interactive=interactive)
        accepted = await self._store.accept(draft)
        if isinstance(accepted, KeyTaken):
            raise KeyReused("this idempotency key was used with another body; use a new key")
        if accepted.posting is None:
            metrics.SUBMISSIONS.labels(draft.language, "repeated").inc()
        else:
            metrics.SUBMISSIONS.labels(draft.language, "accepted").inc()
            self._relay.offer(accepted.posting)
        return accepted

    async def _draft(self, request: scheduler_pb2.SubmitRequest, key: str, *, interactive: bool) -> Draft:
        digest = b""
        if key:
            bare = scheduler_pb2.SubmitRequest.FromString(request.SerializeToString())
            bare.ClearField("idempotency_key")
            digest = hashlib.sha256(bare.SerializeToString(deterministic=True)).digest()
        language = await self._language(request.language)
        _check_compile_args(request, language)
        complete = self._complete(request, language)
        trace = current_trace.get()
        return Draft(
            id=self._ids.next(),
            tenant=PUBLIC_TENANT,
            language=language.name,
            compiled=language.compiled,
            interactive=interactive,
            request=complete.SerializeToString(),
            traceparent=trace.traceparent if trace else "",
            key=key,
            digest=digest,
        )

    async def _language(self, name: str) -> status_pb2.Language:
        if (language := await self._languages.find(name)) is not None:
            return language
        known = await self._languages.names()
        if not known:
            raise Unavailable("no executor has offered any language yet", retry_after=2.0, reason="NO_EXECUTOR")
        why = f"unknown language {name!r}; this deployment runs {_listed(known)}"
        raise InvalidField(f"language: {why}", violations=[Violation("language", why)], reason="UNKNOWN_LANGUAGE")

    def _complete(
        self, request: scheduler_pb2.SubmitRequest, language: status_pb2.Language
    ) -> scheduler_pb2.SubmitRequest:
        """The request with every default filled in. The one place where that happens."""
        if request.network and not self._defaults.allow_network:
            why = "this deployment gives programs no network; leave it false"
            raise InvalidField(f"network: {why}", violations=[Violation("network", why)])
        complete = scheduler_pb2.SubmitRequest()
        complete.CopyFrom(request)
        complete.ClearField("idempotency_key")
        complete.language = language.name
        offered = language.default_limits
        fallback = {
            "time_limit_ms": offered.time_limit_ms or self._defaults.time_limit_ms,
            "memory_limit_kb": offered.memory_limit_kb or self._defaults.memory_limit_kb,
            "output_limit_kb": offered.output_limit_kb or self._defaults.output_limit_kb,
            "process_limit": offered.process_limit or self._defaults.process_limit,
        }
        for field, value in fallback.items():
            if not complete.HasField(field):  # type: ignore[arg-type]
                setattr(complete, field, value)
        if not complete.HasField("cpu_time_limit_ms"):
            complete.cpu_time_limit_ms = complete.time_limit_ms
        return complete


def _check_compile_args(request: scheduler_pb2.SubmitRequest, language: status_pb2.Language) -> None:
    refused = [
        Violation(f"compile_args[{index}]", f"{language.display_name} takes no compiler option {option!r}")
        for index, option in enumerate(request.compile_args)
        if option not in language.compile_options
    ]
    if refused:
        allowed = f"allowed: {_listed(language.compile_options)}" if language.compile_options else "it takes none"
        raise InvalidField(f"compile_args: {refused[0].description}; {allowed}", violations=refused)


def _listed(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
