"""One attempt as a story: prepare, compile, run, collect, judge."""

import asyncio
import functools
import math
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import PurePosixPath

from sentinel.v1 import evidence_pb2, executor_pb2, scheduler_pb2

from services.executor import metrics
from services.executor.judging import Judgement, judge, judge_compile, signal_name
from services.executor.languages import Compilation, Language
from services.executor.reports import Chunker, Reports
from services.executor.sandbox.protocol import (
    Cause,
    Command,
    Ending,
    Exited,
    Killed,
    Limits,
    Sandbox,
    SandboxError,
    SandboxPool,
    Signalled,
    Stdin,
    Stream,
    StreamCount,
    Usage,
)
from services.kit.log import get_logger
from services.kit.trace import current_trace, parse_traceparent

BASE_ENV = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/work",
    "USER": "sandbox",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "TMPDIR": "/tmp",  # noqa: S108 - inside the jail, where /tmp is its own
}
"""What every program finds in its environment; nothing of ours is passed on."""

STDIN_MOST = 1 << 20
"""Bytes of input that may wait for a program that does not read; more is dropped."""

_WIRE = {Stream.STDOUT: evidence_pb2.STREAM_STDOUT, Stream.STDERR: evidence_pb2.STREAM_STDERR}


class Attempt:
    """Runs one assignment once. Everything there is to say goes to `reports`; `run` never raises but for cancelling.

    `slots` bounds how many run at one time. Cancelling `run` kills the program.
    """

    def __init__(
        self,
        assignment: executor_pb2.Assignment,
        *,
        pool: SandboxPool,
        languages: Mapping[str, Language],
        slots: AbstractAsyncContextManager[None],
        executor_id: str,
        changed: Callable[[float], None],
    ) -> None:
        self.assignment = assignment
        self.reports = Reports(assignment.lease_token, changed)
        self._pool = pool
        self._languages = languages
        self._slots = slots
        self._executor_id = executor_id
        self._begun = time.monotonic()
        self._phases: list[evidence_pb2.PhaseTime] = []
        self._streams: list[evidence_pb2.StreamUsage] = []
        self._box: Sandbox | None = None
        self._cancelled = False
        submission = assignment.submission
        self._stdin = Stdin(submission.stdin_base64 or submission.stdin.encode(), open_end=assignment.interactive)
        self._stdin_offset = 0

    @property
    def held(self) -> executor_pb2.HeldAttempt:
        """How a scheduler is told that we hold it."""
        a = self.assignment
        return executor_pb2.HeldAttempt(job_id=a.job_id, attempt=a.attempt, lease_token=a.lease_token)

    def cancel(self) -> None:
        """Kills the program, now or as soon as it starts. Idempotent."""
        self._cancelled = True
        if self._box is not None:
            self._box.stop()

    def signal(self, number: int) -> None:
        """Passes a signal to the program."""
        if self._box is not None and 1 <= number < signal.NSIG:
            self._box.signal(number)

    def feed(self, chunk: executor_pb2.StdinChunk) -> None:
        """Passes on input. Repeats are known by their offset; what comes after a gap is dropped."""
        fresh = self._stdin_offset - chunk.offset
        if fresh < 0 or self._stdin.pending + len(chunk.data) > STDIN_MOST:
            get_logger().warning("stdin_dropped", job_id=self.assignment.job_id, offset=chunk.offset)
            return
        data = chunk.data[fresh:]
        self._stdin_offset += len(data)
        self._stdin.feed(data)
        if chunk.end:
            self._stdin.end()

    async def run(self) -> None:
        """From the assignment to the last report."""
        assignment = self.assignment
        trace = parse_traceparent(assignment.traceparent)
        current_trace.set(trace.child() if trace else None)
        log = get_logger().bind(job_id=assignment.job_id, attempt=assignment.attempt)
        try:
            async with self._slots:
                await self._story()
        except SandboxError as error:
            log.error("sandbox_failed", reason=error.reason, why=error.text)
            metrics.FAILURES.labels(error.reason).inc()
            self.reports.abandoned("SANDBOX_FAILED", str(error))
        except Exception as error:
            # One attempt's bug must not take its neighbours along.
            log.exception("attempt_failed")
            metrics.FAILURES.labels("INTERNAL").inc()
            self.reports.abandoned("SANDBOX_FAILED", f"internal: {type(error).__name__}")
        finally:
            self._stdin.end()

    async def _story(self) -> None:
        submission = self.assignment.submission
        language = self._languages.get(submission.language)
        if language is None:
            self.reports.abandoned("LANGUAGE_UNAVAILABLE", f"this executor has no {submission.language}")
            return
        files = source_files(submission, language)
        names = list(files)
        if clash := clashing(names):
            self._finish_unstarted(f"{clash} is used both as a file and as a directory.")
            return
        if refused := language.refused_option(submission.compile_args):
            # The scheduler knows the same list; this is for the moment in which it knows an older one.
            self._finish_unstarted(f"{language.display_name} takes no compiler option {refused}.")
            return
        prepare = self._begin(evidence_pb2.PHASE_PREPARE)
        async with self._pool.checkout() as box:
            self._box = box
            try:
                if self._cancelled:
                    box.stop()
                for name, content in files.items():
                    await box.put(name, content)
                prepare()
                metrics.SETUP.observe(time.monotonic() - self._begun)
                if language.compile is None or await self._compile(box, language, language.compile, names):
                    await self._run(box, language, names)
            finally:
                self._box = None

    async def _compile(self, box: Sandbox, language: Language, compilation: Compilation, names: Sequence[str]) -> bool:
        """Says whether there is a program to run; reports the end where there is none."""
        limits = Limits(
            wall_ms=compilation.wall_ms,
            cpu_ms=compilation.cpu_ms,
            memory_bytes=compilation.memory_bytes,
            processes=compilation.processes,
            output_bytes=compilation.output_bytes,
            file_bytes=compilation.file_bytes,
        )
        argv, env = language.compile_command(names, self.assignment.submission.compile_args, BASE_ENV)
        command = Command(argv=argv, env=env, merge_output=True)
        done = self._begin(evidence_pb2.PHASE_COMPILE)
        self.reports.phase(evidence_pb2.PHASE_COMPILE)
        chunker = self._chunker(evidence_pb2.STREAM_COMPILE)
        ending, usage = await box.run(
            command, limits, stdin=Stdin(), output=lambda _, data: chunker.add(data), more=True
        )
        done()
        chunker.end()
        metrics.COMPILE.labels(language.name).observe(usage.wall_ms / 1000)
        self._count(evidence_pb2.STREAM_COMPILE, usage.stdout)
        judgement = judge_compile(ending, usage, limits)
        if judgement is None:
            return True
        self._finish(judgement, ending, usage)
        return False

    async def _run(self, box: Sandbox, language: Language, names: Sequence[str]) -> None:
        submission = self.assignment.submission
        limits = run_limits(submission)
        argv, env = language.run_command(names, submission.args, limits.memory_bytes, BASE_ENV)
        command = Command(argv=argv, env={**env, **submission.env})
        done = self._begin(evidence_pb2.PHASE_RUN)
        self.reports.phase(evidence_pb2.PHASE_RUN)
        chunkers = {stream: self._chunker(wire) for stream, wire in _WIRE.items()}
        ending, usage = await box.run(
            command, limits, stdin=self._stdin, output=lambda stream, data: chunkers[stream].add(data)
        )
        done()
        collect = self._begin(evidence_pb2.PHASE_COLLECT)
        for chunker in chunkers.values():
            chunker.end()
        self._count(evidence_pb2.STREAM_STDOUT, usage.stdout)
        self._count(evidence_pb2.STREAM_STDERR, usage.stderr)
        judgement = judge(ending, usage, limits)
        metrics.RUN_WALL.labels(language.name).observe(usage.wall_ms / 1000)
        metrics.RUN_CPU.labels(language.name).observe(usage.cpu_ms / 1000)
        metrics.MEMORY.labels(language.name).observe(usage.memory_peak_bytes)
        collect()
        self._finish(judgement, ending, usage)

    def _begin(self, phase: evidence_pb2.Phase.ValueType) -> Callable[[], None]:
        """Notes that a phase begins; call the result at its end."""
        start = time.monotonic()
        entry = evidence_pb2.PhaseTime(phase=phase, start_ms=round((start - self._begun) * 1000, 3))
        self._phases.append(entry)

        def end() -> None:
            entry.duration_ms = round((time.monotonic() - start) * 1000, 3)

        return end

    def _chunker(self, stream: evidence_pb2.Stream.ValueType) -> Chunker:
        emit = functools.partial(self.reports.output, stream)
        return Chunker(emit, asyncio.get_running_loop().call_later)

    def _count(self, stream: evidence_pb2.Stream.ValueType, count: StreamCount) -> None:
        usage = evidence_pb2.StreamUsage(stream=stream, bytes_produced=count.produced, bytes_kept=count.kept)
        self._streams.append(usage)

    def _finish_unstarted(self, why: str) -> None:
        evidence = evidence_pb2.Evidence(explanation=f"Nothing was run: {why}", executor=self._executor_id)
        self.reports.finished(executor_pb2.VERDICT_COMPILATION_ERROR, evidence)

    def _finish(self, judgement: Judgement, ending: Ending, usage: Usage) -> None:
        evidence = evidence_pb2.Evidence(
            limit=judgement.limit,
            explanation=judgement.explanation,
            wall_time_ms=round(usage.wall_ms, 3),
            cpu_time_ms=round(usage.cpu_ms, 3),
            memory_peak_kb=math.ceil(usage.memory_peak_bytes / 1024),
            oom_events=usage.oom_events,
            peak_processes=usage.peak_processes,
            streams=self._streams,
            phases=self._phases,
            executor=self._executor_id,
        )
        match ending:
            case Exited(code=code):
                evidence.exit_code = code
            case Signalled(number=number):
                evidence.signal = number
                evidence.signal_name = signal_name(number)
            case Killed(by=cause) if cause is not Cause.CANCELLED or usage.wall_ms > 0:
                evidence.signal = signal.SIGKILL
                evidence.signal_name = signal.SIGKILL.name
            case Killed():
                pass  # nothing was running yet
        self.reports.finished(judgement.verdict, evidence)
        get_logger().info(
            "attempt_finished",
            job_id=self.assignment.job_id,
            attempt=self.assignment.attempt,
            language=self.assignment.submission.language,
            verdict=executor_pb2.Verdict.Name(judgement.verdict).removeprefix("VERDICT_"),
            wall_ms=evidence.wall_time_ms,
            cpu_ms=evidence.cpu_time_ms,
            memory_kb=evidence.memory_peak_kb,
        )


def source_files(submission: scheduler_pb2.SubmitRequest, language: Language) -> dict[str, bytes]:
    """The files of a submission by name; the first is the entry."""
    if not submission.files:
        return {language.entry: submission.source_code.encode()}
    return {file.name: file.content_base64 or file.content.encode() for file in submission.files}


def clashing(names: Sequence[str]) -> str | None:
    """A name that would have to be a file and a directory at once, if there is one."""
    taken = set(names)
    for name in names:
        for parent in PurePosixPath(name).parents:
            if str(parent) in taken:
                return str(parent)
    return None


def run_limits(submission: scheduler_pb2.SubmitRequest) -> Limits:
    """The limits of the run phase. The scheduler has filled in every default."""
    limits = Limits(
        wall_ms=submission.time_limit_ms,
        cpu_ms=submission.cpu_time_limit_ms or submission.time_limit_ms,
        memory_bytes=submission.memory_limit_kb * 1024,
        processes=submission.process_limit,
        output_bytes=submission.output_limit_kb * 1024,
    )
    # Files live in memory, so none can usefully be larger than it.
    return replace(limits, file_bytes=max(limits.memory_bytes, 1 << 20))
