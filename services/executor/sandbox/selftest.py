"""Runs a control program and an attack in a real jail before any stranger's program may."""

from services.executor.sandbox.protocol import Command, Exited, Limits, Sandbox, SandboxError, SandboxPool, Stdin

_LIMITS = Limits(
    wall_ms=10_000, cpu_ms=10_000, memory_bytes=64 << 20, processes=16, output_bytes=4096, file_bytes=1 << 20
)
_CONTROL = "cat /work/nonce; id -u; test -w /tmp && test ! -w /usr && test ! -e /etc/shadow && test ! -e /proc/1"
_ATTACK = "unshare --user true"


async def self_test(pool: SandboxPool, nonce: str) -> None:
    """Raises SandboxError unless the control printed its nonce and the attack failed in the same jail."""
    async with pool.checkout() as box:
        await box.put("nonce", f"{nonce}\n".encode())
        control = await _shell(box, _CONTROL)
        if control != (0, f"{nonce}\n1000\n"):
            raise SandboxError("SELF_TEST", f"the control program gave {control}")
        code, _ = await _shell(box, _ATTACK)
        if code == 0:
            raise SandboxError("SELF_TEST", "a program in the jail could make a user namespace")


async def _shell(box: Sandbox, script: str) -> tuple[int, str]:
    said = bytearray()
    command = Command(argv=["/bin/sh", "-c", script], env={"PATH": "/usr/bin:/bin"}, merge_output=True)
    ending, _ = await box.run(command, _LIMITS, stdin=Stdin(), output=lambda _, data: said.extend(data))
    if not isinstance(ending, Exited):
        raise SandboxError("SELF_TEST", f"a control program ended as {ending}")
    return ending.code, said.decode("utf-8", "replace")
