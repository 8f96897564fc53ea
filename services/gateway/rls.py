"""Envoy's RateLimitService: the limiter's decisions on the wire.

`statuses` is what Envoy writes the x-ratelimit-limit, -remaining and -reset headers from.
"""

import math
from collections.abc import Iterable
from typing import Any

from google.protobuf import duration_pb2
from ratelimit.v3 import rls_pb2, rls_pb2_grpc

from services.gateway.ratelimit import CallClass, Decision, Limiter
from services.kit.rpc_metrics import ADMISSION_REJECTED

SERVICE = "envoy.service.ratelimit.v3.RateLimitService"
_PASS = rls_pb2.RateLimitResponse(overall_code=rls_pb2.RateLimitResponse.OK)


class RateLimitService(rls_pb2_grpc.RateLimitServiceServicer):
    """Answers every descriptor of the form [{remote_address: ip}, {class: write|read}]; lets all others pass."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter

    async def ShouldRateLimit(  # noqa: N802 - the name in the proto
        self, request: rls_pb2.RateLimitRequest, context: Any
    ) -> rls_pb2.RateLimitResponse:
        """OVER_LIMIT where one descriptor is, with the seconds until the tightest would pass."""
        if not self._limiter.enabled:
            return _PASS
        cost = request.hits_addend or 1
        decisions = [await self._decide(descriptor.entries, cost) for descriptor in request.descriptors]
        told = [decision for decision in decisions if decision is not None]
        if not told:
            return _PASS
        tightest = min(told, key=lambda d: (d.allowed, d.remaining / d.limit))
        if not tightest.allowed:
            ADMISSION_REJECTED.labels("rate_limit").inc()
        return _response(decisions, tightest)

    async def _decide(self, entries: Iterable[rls_pb2.Descriptor.Entry], cost: int) -> Decision | None:
        values = {entry.key: entry.value for entry in entries}
        client = values.get("remote_address")
        if not client:
            return None
        call = CallClass.WRITE if values.get("class") == CallClass.WRITE else CallClass.READ
        return await self._limiter.decide(client, call, cost)


def _response(decisions: Iterable[Decision | None], tightest: Decision) -> rls_pb2.RateLimitResponse:
    response = rls_pb2.RateLimitResponse(
        overall_code=rls_pb2.RateLimitResponse.OK if tightest.allowed else rls_pb2.RateLimitResponse.OVER_LIMIT,
        statuses=[_status(decision) for decision in decisions],
    )
    if not tightest.allowed:
        seconds = math.ceil(tightest.retry_after)
        response.response_headers_to_add.add(key="retry-after", value=str(seconds))
        response.raw_body = (
            f"too many calls: {tightest.limit} per minute are allowed; ask again in {seconds} s".encode()
        )
    return response


def _status(decision: Decision | None) -> rls_pb2.RateLimitResponse.DescriptorStatus:
    status = rls_pb2.RateLimitResponse.DescriptorStatus(code=rls_pb2.RateLimitResponse.OK)
    if decision is None:
        return status
    if not decision.allowed:
        status.code = rls_pb2.RateLimitResponse.OVER_LIMIT
    status.current_limit.requests_per_unit = decision.limit
    status.current_limit.unit = rls_pb2.RateLimitResponse.RateLimit.MINUTE
    status.limit_remaining = decision.remaining
    status.duration_until_reset.CopyFrom(duration_pb2.Duration(seconds=math.ceil(decision.reset)))
    return status
