"""Clients of a chaos run: each submits one program through Envoy and watches it to its end, whatever breaks."""

import asyncio
import random
import time
import uuid

import grpc
from sentinel.v1 import scheduler_pb2, scheduler_pb2_grpc, status_pb2, status_pb2_grpc

from tests.chaos.history import Story

PROGRAM = """\
import sys, time
for part in range({parts}):
    sys.stdout.write({word!r} * {width} + str(part) + "\\n")
    time.sleep({pause})
"""
_GIVE_UP_SECONDS = 60.0
_RETRIED = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)


def make_story(rng: random.Random) -> tuple[Story, str]:
    """A program whose output is known, and its source."""
    word = rng.choice(["abc", "ü", "日本", "🙂", "x" * 40])
    parts, width, pause = rng.randint(2, 6), rng.randint(1, 60), rng.choice([0.02, 0.05, 0.1])
    expected = "".join(f"{word * width}{part}\n" for part in range(parts)).encode()
    source = PROGRAM.format(parts=parts, word=word, width=width, pause=pause)
    return Story(key=str(uuid.UUID(int=rng.getrandbits(128))), expected_stdout=expected), source


class Client:
    """One client; its story tells what it saw."""

    def __init__(self, channel: grpc.aio.Channel, story: Story, source: str) -> None:
        self.story = story
        self._source = source
        self._submit = scheduler_pb2_grpc.SchedulerServiceStub(channel).Submit
        self._watch = status_pb2_grpc.StatusServiceStub(channel).WatchSubmission
        self._until = 0.0

    async def run(self) -> None:
        """Submits under an idempotency key until answered, then watches, resuming, until the result."""
        self._until = time.monotonic() + _GIVE_UP_SECONDS
        request = scheduler_pb2.SubmitRequest(
            language="python",
            source_code=self._source,
            time_limit_ms=20_000,
            idempotency_key=self.story.key,
        )
        while not self.story.job_id:
            try:
                self.story.job_id = (await self._submit(request, timeout=15)).job_id
            except grpc.aio.AioRpcError as error:
                if not await self._patient(error):
                    self.story.refused = f"{error.code().name}: {error.details()}"
                    return
        while self.story.result is None:
            try:
                await self._follow()
            except grpc.aio.AioRpcError as error:
                self.story.reconnects += 1
                if not await self._patient(error):
                    return

    async def _follow(self) -> None:
        request = status_pb2.WatchSubmissionRequest(job_id=self.story.job_id, after_sequence=self.story.last_sequence)
        async for response in self._watch(request, timeout=_GIVE_UP_SECONDS):
            self.story.tell(response.event)

    async def _patient(self, error: grpc.aio.AioRpcError) -> bool:
        if error.code() not in _RETRIED or time.monotonic() > self._until:
            return False
        await asyncio.sleep(random.uniform(0.05, 0.4))
        return True
