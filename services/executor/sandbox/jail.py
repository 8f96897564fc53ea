"""One jail: nsjail around our init, in a control group of ours. Built ahead of need, used for one submission."""

import asyncio
import contextlib
import errno
import functools
import os
import resource
import select
import signal
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import TypeVar

from services.executor.sandbox.cgroup import Cgroup, CgroupDriver, Counters, OutOfRoom
from services.executor.sandbox.channel import Answer, ChannelClosed, InitChannel, ResourceLimit
from services.executor.sandbox.descriptors import InputPipe, OutputPipe, wait_readable
from services.executor.sandbox.networks import Network
from services.executor.sandbox.nsjail import NsjailProcess, Walls
from services.executor.sandbox.protocol import (
    Cause,
    Command,
    Ending,
    Exited,
    Killed,
    Limits,
    OutputSink,
    SandboxError,
    Signalled,
    Stdin,
    Stream,
    Usage,
)
from services.executor.sandbox.watchdog import CpuWatchdog

READY_WITHIN = 10.0
"""Seconds for nsjail and init to come up; the slowest seen on a loaded machine was 0.3."""
DEAD_WITHIN = 5.0
"""Seconds for a killed jail to be gone."""

T = TypeVar("T")


class Jail:
    """A Sandbox. Owns its processes, descriptors and group until `Jails.destroy`."""

    def __init__(
        self,
        index: int,
        nsjail: NsjailProcess,
        channel: InitChannel,
        init_pidfd: int,
        cgroup: Cgroup,
        next_group: Callable[[], Awaitable[Cgroup]],
        network: Network | None,
    ) -> None:
        self.index = index
        self.nsjail = nsjail
        self.network = network
        self.channel = channel
        self.init_pidfd = init_pidfd
        self.cgroups = [cgroup]
        """One per command that was announced; init sits in the last, and with it whatever it starts."""
        self._next_group = next_group
        self._moving: asyncio.Task[Cgroup] | None = None
        self._stopped = False
        self._spent = False
        self._phase: _Phase | None = None

    @property
    def cgroup(self) -> Cgroup:
        """The group of the present command."""
        return self.cgroups[-1]

    @property
    def alive(self) -> bool:
        """Its init still runs."""
        return not select.select([self.init_pidfd], [], [], 0)[0]

    def kill(self) -> None:
        """Kills every process in the jail: the kernel does that when PID 1 of a namespace dies."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.init_pidfd, signal.SIGKILL)

    def stop(self) -> None:
        """See Sandbox."""
        self._stopped = True
        if self._phase is not None:
            self._phase.kill(Cause.CANCELLED)

    def signal(self, number: int) -> None:
        """See Sandbox."""
        if self._phase is not None:
            self.channel.signal_nowait(number)

    async def put(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        """See Sandbox. A failure to write shows when the next command is run."""
        try:
            await self.channel.put(path, content, mode)
        except ChannelClosed as error:
            raise self._died() from error

    async def run(
        self, command: Command, limits: Limits, *, stdin: Stdin, output: OutputSink, more: bool = False
    ) -> tuple[Ending, Usage]:
        """See Sandbox."""
        await self.settle()
        if self._spent:
            raise SandboxError("SPENT", "this jail has already killed a program")
        if self._stopped:
            return Killed(Cause.CANCELLED), _NOTHING
        try:
            self.cgroup.begin(limits.memory_bytes, limits.processes)
        except OutOfRoom:
            # What an earlier phase left in memory is more than this one may have.
            self._spent = True
            return Killed(Cause.MEMORY), _NOTHING
        phase = _Phase(self, limits, stdin, output, merge_output=command.merge_output)
        self._phase = phase
        try:
            await phase.release(command)
            if more:
                # What init has started stays where it is; what it starts next begins with clean counters. Moving
                # takes a grace period of the kernel, which hides behind the command.
                self._moving = asyncio.ensure_future(self._next_group())
            answer = await phase.wait_end()
        finally:
            self._phase = None
            self._spent = phase.cause is not None or not phase.clean
            phase.close()
        return self._ending(phase, answer), phase.usage()

    async def settle(self) -> None:
        """Waits for the next group, where one is being prepared. Raises SandboxError."""
        if self._moving is not None:
            moving, self._moving = self._moving, None
            self.cgroups.append(await asyncio.shield(moving))

    def _ending(self, phase: "_Phase", answer: Answer | None) -> Ending:
        if phase.cause is not None:
            return Killed(phase.cause)
        if answer is None:
            if phase.counters.oom_events:
                return Killed(Cause.MEMORY)  # the victim was our init
            raise self._died()
        if answer.kind == "D":
            if os.WIFSIGNALED(answer.value):
                return Signalled(os.WTERMSIG(answer.value))
            return Exited(os.WEXITSTATUS(answer.value))
        if answer.value == errno.ENOMEM:
            return Killed(Cause.MEMORY)
        raise SandboxError("INIT_" + answer.where, f"init refused: {os.strerror(answer.value)}")

    def _died(self) -> SandboxError:
        return SandboxError("JAIL_DIED", f"the jail ended by itself: {self.nsjail.log_text() or 'nsjail said nothing'}")


_NOTHING = Usage(wall_ms=0, cpu_ms=0, memory_peak_bytes=0, oom_events=0, peak_processes=0)


class _Phase:
    """One command from release to proven end: its pipes, its watchdogs, and who killed it."""

    def __init__(self, jail: Jail, limits: Limits, stdin: Stdin, output: OutputSink, *, merge_output: bool) -> None:
        loop = asyncio.get_running_loop()
        self._jail = jail
        self._cgroup = jail.cgroup
        self._loop = loop
        self._limits = limits
        self.cause: Cause | None = None
        self.clean = False
        """Init reported the end of everything, so the jail may take another command."""
        self._answer: asyncio.Future[Answer | None] = loop.create_future()
        self._started_ns = 0
        self._ended_ns = 0
        self.counters = Counters(cpu_ns=0, memory_peak_bytes=0, oom_events=0, peak_processes=0)
        self._wall: asyncio.TimerHandle | None = None
        cpus = min(os.cpu_count() or 1, limits.processes)
        self._cpu = CpuWatchdog(loop, self._cgroup.cpu_ns, cpus, functools.partial(self._limit, Cause.CPU_TIME))
        on_limit = functools.partial(self.kill, Cause.OUTPUT)
        self._stdin = InputPipe(loop, stdin)
        self._stdout = OutputPipe(loop, Stream.STDOUT, limits.output_bytes, output, on_limit)
        self._stderr = None if merge_output else OutputPipe(loop, Stream.STDERR, limits.output_bytes, output, on_limit)

    async def release(self, command: Command) -> None:
        """Starts the command, and the clocks."""
        jail, limits = self._jail, self._limits
        theirs = [self._stdin.theirs, self._stdout.theirs]
        theirs.append(self._stderr.theirs if self._stderr is not None else self._stdout.theirs)
        self._loop.add_reader(jail.init_pidfd, self._init_died)
        self._loop.add_reader(jail.channel.fileno(), self._listen)
        self._loop.add_reader(self._cgroup.oom_fd, self._out_of_memory)
        self._wall = self._loop.call_later(limits.wall_ms / 1000, self._limit, Cause.WALL_TIME)
        self._cpu.start(limits.cpu_ms * 1_000_000)
        self._started_ns = time.monotonic_ns()
        try:
            env = [f"{name}={value}" for name, value in command.env.items()]
            await jail.channel.run(command.argv, env, command.directory, _resource_limits(limits), theirs)
        except ChannelClosed:
            pass  # its pidfd tells the same
        finally:
            for fd in set(theirs):
                os.close(fd)

    async def wait_end(self) -> Answer | None:
        """Waits for the end of all its processes. None where init died."""
        try:
            answer = await self._answer
        except asyncio.CancelledError:
            self.kill(Cause.CANCELLED)
            raise
        self._stdout.finish()
        if self._stderr is not None:
            self._stderr.finish()
        self.counters = self._cgroup.counters()
        self.clean = answer is not None and answer.kind == "D"
        return answer

    def kill(self, cause: Cause) -> None:
        """Kills the program unless it has ended. The first cause stands."""
        if self.cause is None and not self._answer.done():
            self.cause = cause
            self._jail.kill()

    def usage(self) -> Usage:
        """What it used. After `run`."""
        counters = self.counters
        stdout = self._stdout.count
        answer = self._answer.result() if self._answer.done() else None
        return Usage(
            wall_ms=(self._ended_ns - self._started_ns) / 1e6,
            cpu_ms=counters.cpu_ns / 1e6,
            # Where the group cannot tell this phase's peak, the largest process is the best there is.
            memory_peak_bytes=counters.memory_peak_bytes or (answer.max_rss_kb * 1024 if answer else 0),
            oom_events=counters.oom_events,
            peak_processes=counters.peak_processes,
            stdout=stdout,
            stderr=self._stderr.count if self._stderr is not None else type(stdout)(),
        )

    def close(self) -> None:
        """Stops watching. Idempotent."""
        if self._wall is not None:
            self._wall.cancel()
        self._cpu.stop()
        for fd in (self._jail.init_pidfd, self._jail.channel.fileno(), self._cgroup.oom_fd):
            self._loop.remove_reader(fd)
        self._stdin.close()
        self._stdout.close()
        if self._stderr is not None:
            self._stderr.close()

    def _limit(self, cause: Cause) -> None:
        # A program that ended at its limit and is waiting to be heard did end by itself.
        self._listen()
        self.kill(cause)

    def _out_of_memory(self) -> None:
        if self._cgroup.counters().oom_events:
            self.kill(Cause.MEMORY)
            self._loop.remove_reader(self._cgroup.oom_fd)

    def _listen(self) -> None:
        try:
            answer = self._jail.channel.receive()
        except ChannelClosed:
            self._loop.remove_reader(self._jail.channel.fileno())
            return
        if answer is not None:
            self._end(answer)

    def _init_died(self) -> None:
        self._loop.remove_reader(self._jail.init_pidfd)
        self._listen()
        self._end(None)

    def _end(self, answer: Answer | None) -> None:
        if not self._answer.done():
            self._ended_ns = time.monotonic_ns()
            self._answer.set_result(answer)


def _resource_limits(limits: Limits) -> list[ResourceLimit]:
    return [
        ResourceLimit(resource.RLIMIT_FSIZE, limits.file_bytes),
        ResourceLimit(resource.RLIMIT_STACK, limits.stack_bytes),
        ResourceLimit(resource.RLIMIT_NOFILE, limits.open_files),
    ]


class Jails:
    """Builds jails and takes them down. Blocking kernel calls go to `threads`, off the event loop."""

    def __init__(self, walls: Walls, driver: CgroupDriver, first_outside_id: int, threads: Executor) -> None:
        self._walls = walls
        self._driver = driver
        self._first_outside_id = first_outside_id
        self._threads = threads
        self._serial = 0

    async def build(self, index: int) -> Jail:
        """A jail that waits for its first command, as outside user `first_outside_id + index`.

        Raises SandboxError, leaving nothing behind. Safe to cancel.
        """
        self._serial += 1
        name = f"{index}-{self._serial}"
        cgroup = await self._blocking(functools.partial(self._driver.create, name))
        channel, theirs = InitChannel.pair()
        nsjail: NsjailProcess | None = None
        init_pidfd: int | None = None
        network: Network | None = None
        try:
            if self._walls.networks is not None:
                network = self._walls.networks.take()
            with theirs:
                nsjail = NsjailProcess.start(self._walls, self._first_outside_id + index, theirs, network)
            async with asyncio.timeout(READY_WITHIN):
                await wait_readable(channel.fileno())
            init_pid = channel.receive_ready()
            init_pidfd = os.pidfd_open(init_pid)
            # Init blocks on its socket until we speak, so it is still the process that spoke.
            await self._blocking(functools.partial(cgroup.attach, init_pid))
            next_group = functools.partial(self._move, f"{name}-next", init_pid)
            return Jail(index, nsjail, channel, init_pidfd, cgroup, next_group, network)
        except BaseException as error:
            said = nsjail.log_text() if nsjail is not None else ""
            await asyncio.shield(self._take_down(nsjail, channel, init_pidfd, [cgroup]))
            self._give_back(network)
            if isinstance(error, ChannelClosed | TimeoutError | ProcessLookupError):
                raise SandboxError("JAIL_START", said or f"nsjail did not start: {error!r}") from error
            raise

    async def destroy(self, jail: Jail) -> None:
        """Kills what is left and proves it gone: only then is its user id free again.

        Raises SandboxError where that cannot be proved.
        """
        jail.kill()
        with contextlib.suppress(SandboxError):
            await jail.settle()
        await self._take_down(jail.nsjail, jail.channel, jail.init_pidfd, jail.cgroups)
        self._give_back(jail.network)

    def _give_back(self, network: Network | None) -> None:
        if network is not None and self._walls.networks is not None:
            self._walls.networks.give_back(network)

    async def _move(self, name: str, init_pid: int) -> Cgroup:
        """A fresh group with init in it."""

        def create_and_attach() -> Cgroup:
            cgroup = self._driver.create(name)
            try:
                cgroup.attach(init_pid)
            except BaseException:
                cgroup.remove()
                raise
            return cgroup

        return await self._blocking(create_and_attach)

    async def _take_down(
        self, nsjail: NsjailProcess | None, channel: InitChannel, init_pidfd: int | None, cgroups: list[Cgroup]
    ) -> None:
        for cgroup in cgroups:
            cgroup.kill()
        channel.close()
        try:
            if nsjail is not None:
                await self._reap(nsjail, init_pidfd)
                nsjail.close()
        finally:
            if init_pidfd is not None:
                os.close(init_pidfd)
            for cgroup in cgroups:
                await self._blocking(cgroup.remove)

    async def _reap(self, nsjail: NsjailProcess, init_pidfd: int | None) -> None:
        """Waits for init, then for nsjail, which may have missed that init died."""
        if init_pidfd is None:
            nsjail.kill()
        else:
            try:
                async with asyncio.timeout(DEAD_WITHIN):
                    await wait_readable(init_pidfd)
            except TimeoutError:
                nsjail.kill()
        wait = 0.008
        while not nsjail.reap():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await wait_readable(nsjail.pidfd)
                continue
            if wait > 1:
                nsjail.kill()
            nsjail.nudge()
            wait = min(2.0, wait * 2)

    async def _blocking(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)
