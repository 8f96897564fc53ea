"""Four honest jobs beside an attack: their output must be right, and their time what it is without the attack."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence

from audit.case import Program
from audit.door import Door
from audit.programs import python
from audit.stage import Kind, Record, Stage
from audit.target import Target

_MEASUREMENTS = 3
SLOWER_MOST = 1.5
"""Times the same jobs without the attack."""
_WORK = python(
    "import hashlib, sys\nd = sys.argv[1].encode()\n"
    "for _ in range(60000): d = hashlib.sha256(d).digest()\nprint(d.hex(), flush=True)"
)


class Neighbours:
    """So many honest jobs, measured with and without company."""

    def __init__(self, door: Door, target: Target, environment: dict[str, str], count: int) -> None:
        self._door = door
        self._target = target
        self._environment = environment
        self._count = count
        self.ratios: list[tuple[str, float, float]] = []
        """Case, milliseconds without, milliseconds with."""

    async def beside(
        self, attack: Callable[[], Awaitable[None]], records: Sequence[Record], *, judged: bool = True
    ) -> None:
        """Runs the jobs without, then with, then without the attack again; the slower of the two baselines counts.

        The attack has a head start, so that it is at work when its neighbours come. Machines have other work too, so
        what looks harmful is measured three times in all, attack included, and judged by the median.
        """
        seen: list[tuple[float, float, float]] = []
        for _ in range(_MEASUREMENTS):
            before = await self._together(records)
            running = asyncio.ensure_future(attack())
            await asyncio.sleep(0.15)
            beside = await self._together(records)
            await running
            baseline = max(before, await self._together(records))
            seen.append((beside / baseline, baseline, beside))
            if not judged or (len(seen) == 1 and beside <= baseline * SLOWER_MOST):
                break
        if not judged:
            return
        ratio, baseline, beside = sorted(seen)[len(seen) // 2]
        self.ratios.append((" ".join(record.case_id for record in records), baseline, beside))
        if ratio > SLOWER_MOST:
            for record in records:
                record.problem(
                    Kind.NEIGHBOUR,
                    f"{self._count} neighbours took {beside:.0f} ms, {baseline:.0f} ms without the attack",
                )

    async def _together(self, records: Sequence[Record]) -> float:
        begun = time.monotonic()
        await asyncio.gather(*(self._one(records) for _ in range(self._count)))
        return (time.monotonic() - begun) * 1000

    async def _one(self, records: Sequence[Record]) -> None:
        own = Record("neighbour")
        stage = Stage(own, self._door, self._environment, self._target)
        word = stage.secret()
        wanted = _digest(word)
        seen = await stage.run(Program(language="python", source=_WORK, args=(word,)))
        stage.require(seen, "SUCCESS", wanted)
        for record in records:
            record.problems += [type(problem)(Kind.NEIGHBOUR, problem.text) for problem in own.problems]


def _digest(word: str) -> str:
    digest = word.encode()
    for _ in range(60_000):
        digest = hashlib.sha256(digest).digest()
    return digest.hex()
