"""Calls to the schedulers: each in turn, past those that do not answer."""

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
from sentinel.v1 import scheduler_pb2, scheduler_pb2_grpc, submission_pb2

from services.kit.errors import Unavailable
from services.kit.trace import current_trace

_CALL_SECONDS = 5.0
_OPTIONS = (
    # Several addresses behind one name are all used.
    ("grpc.lb_policy_name", "round_robin"),
    # A scheduler that comes back is found at once, not after the two minutes that backoff grows to.
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class Schedulers:
    """What a gateway asks of schedulers. Owned by the process; see `open_schedulers`."""

    def __init__(self, stubs: "Sequence[scheduler_pb2_grpc.SchedulerServiceAsyncStub]") -> None:
        self._stubs = stubs
        self._turn = itertools.count()

    async def cancel(self, job: str) -> submission_pb2.Submission:
        """Asks for the end of a submission; idempotent.

        Raises Unavailable where no scheduler answers, grpc.RpcError with the scheduler's own refusal.
        """
        first = next(self._turn)
        for offset in range(len(self._stubs)):
            stub = self._stubs[(first + offset) % len(self._stubs)]
            try:
                response = await stub.Cancel(
                    scheduler_pb2.CancelRequest(job_id=job), timeout=_CALL_SECONDS, metadata=_trace()
                )
            except grpc.aio.AioRpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise
                continue
            return response.submission
        raise Unavailable("no scheduler answers")


def _trace() -> tuple[tuple[str, str], ...]:
    trace = current_trace.get()
    return (("traceparent", trace.traceparent),) if trace else ()


@asynccontextmanager
async def open_schedulers(addresses: Sequence[str]) -> AsyncIterator[Schedulers]:
    """Channels to `addresses` (host:port), closed when the block ends. Connects when first asked."""
    async with AsyncExitStack() as channels:
        yield Schedulers(
            [
                scheduler_pb2_grpc.SchedulerServiceStub(
                    await channels.enter_async_context(grpc.aio.insecure_channel(address, options=_OPTIONS))
                )
                for address in addresses
            ]
        )
