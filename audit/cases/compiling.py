"""Compiling: the compiler is one more untrusted program, under the same walls."""

import re
from typing import Unpack

from audit.case import Case, Expectation, Marks, Program, Refusal, Submission, at_most, limit, wall_between
from audit.programs import c
from audit.stage import Stage

CE = ("COMPILATION_ERROR",)
MOUNTS = "mounts"
_GAVE_UP = re.compile(r"error|fatal|terminated|too large|exceed", re.IGNORECASE)
MEMORY = "memory group"
SIZES = "RLIMIT_FSIZE"


def _fails(
    number: str,
    name: str,
    claim: str,
    layer: str,
    program: Program,
    *says: str,
    expect: Expectation | None = None,
    **more: Unpack[Marks],
) -> Case:
    return Case(
        id=number,
        name=name,
        claim=claim,
        layer=layer,
        program=program,
        expect=expect
        or Expectation(
            verdicts=CE, compiler_says=says, begins=False, never=(r"root:[x*]:0",), facts=(at_most("COMPILE", 65_536),)
        ),
        **more,
    )


def _unlucky(*limits: str) -> Expectation:
    """Ends by one of these limits; which comes first depends on the machine. Without one, the compiler says why."""
    checks = [limit(name) for name in limits]

    def one_of(seen: Submission) -> str | None:
        said = [check(seen) for check in checks]
        if None not in said:
            return "; ".join(filter(None, said))
        if limit("UNSPECIFIED")(seen) is None and not _GAVE_UP.search(seen.compile_output):
            return f"no limit fired, and the compiler does not say why it ended: {seen.compile_output[:200]!r}"
        return None

    return Expectation(verdicts=CE, begins=False, facts=(one_of, at_most("COMPILE", 65_536), wall_between(0, 12_000)))


def _named(name: str) -> Case:
    slug = "".join(ch if ch.isalnum() else "-" for ch in name).strip("-").lower() or "dashes"
    return Case(
        id=f"C19-{slug}",
        name=f"a file named {name}",
        claim="A file name is never an option of the compiler.",
        layer="validation",
        program=Program(files=(("main.c", b"int main(void) { return 0; }"), (name, b"x"))),
        expect=Refusal(mentions="files"),
    )


async def _stale(stage: Stage) -> None:
    """The same main file with another header is another program."""
    main = c('#include "v.h"\nATTACK { say("value", VALUE); return 0; }').encode()
    for value in (1, 2, 1):
        header = f"#define VALUE {value}\n".encode()
        seen = await stage.run(Program(files=(("main.c", main), ("v.h", header))))
        stage.require(seen, "SUCCESS", f"value={value}")


CASES = (
    _fails(
        "C01",
        "including a file of the host",
        "No file of the host comes into a diagnostic.",
        MOUNTS,
        Program(source='#include "/etc/shadow"\nint main(void) { return 0; }'),
        r"/etc/shadow: No such file",
        classic=True,
        fast=True,
    ),
    _fails(
        "C01-proc",
        "including the compiler's own environment",
        "Nothing of our processes comes into a diagnostic.",
        MOUNTS,
        Program(source='#include "/proc/self/environ"\n#include "/proc/1/environ"\nint main(void) { return 0; }'),
        r"/proc/self/environ: No such file",
    ),
    _fails(
        "C02",
        "including endless noise",
        "A compiler that reads without end meets a limit.",
        MEMORY,
        Program(source='#include "/dev/random"\n'),
        expect=_unlucky("MEMORY", "CPU_TIME", "WALL_TIME", "UNSPECIFIED"),
    ),
    _fails(
        "C03",
        "including endless zeros",
        "A compiler that reads without end meets a limit.",
        MEMORY,
        Program(source='#include "/dev/zero"\n'),
        expect=_unlucky("MEMORY", "CPU_TIME", "WALL_TIME", "UNSPECIFIED"),
        fast=True,
    ),
    _fails(
        "C04",
        "a file that includes itself",
        "Inclusion without end is an error of the source.",
        "compiler",
        Program(source='#include "main.c"\n'),
        "nested depth",
    ),
    _fails(
        "C05",
        "assembling a file of the host",
        "The assembler sees no more than the compiler.",
        MOUNTS,
        Program(source='__asm__(".incbin \\"/etc/shadow\\"");\nint main(void) { return 0; }'),
        "shadow",
        fast=True,
    ),
    _fails(
        "C06",
        "an array of all addresses",
        "A program too large to be written is not.",
        SIZES,
        Program(source="main[-1u]={1};\n"),
        expect=_unlucky("MEMORY", "UNSPECIFIED"),
    ),
    _fails(
        "C07",
        "a gigabyte of data",
        "A program too large to be written is not.",
        SIZES,
        Program(source="char a[1200000000] = {1};\nint main(void) { return a[0]; }\n"),
        expect=_unlucky("MEMORY", "UNSPECIFIED", "OUTPUT"),
    ),
    _fails(
        "C08",
        "templates without end",
        "Recursion in the compiler is an error of the source.",
        "compiler",
        Program(
            language="cpp",
            source="template <int n> struct T { static constexpr int v = T<n + 1>::v; };\nint main() { return T<0>::v; }\n",
        ),
        "depth",
    ),
    _fails(
        "C09",
        "templates that multiply",
        "A compiler that grows without end meets a limit.",
        MEMORY,
        Program(
            language="cpp",
            source="template <class A, int n> struct T { T<T<A, n - 1>, n - 1> a; T<T<A, n - 1>*, n - 1> b; };\ntemplate <class A> struct T<A, 0> {};\nint main() { T<int, 24> x; (void)x; }\n",
        ),
        expect=_unlucky("MEMORY", "CPU_TIME", "WALL_TIME", "OUTPUT", "UNSPECIFIED"),
    ),
    _fails(
        "C10",
        "macros that double",
        "A compiler that grows without end meets a limit.",
        MEMORY,
        Program(
            source="#define A0 1+\n"
            + "".join(f"#define A{n} A{n - 1} A{n - 1}\n" for n in range(1, 31))
            + "int main(void) { return A30 0; }\n"
        ),
        expect=_unlucky("MEMORY", "CPU_TIME", "WALL_TIME"),
        fast=True,
    ),
    _fails(
        "C11",
        "a loop at compile time",
        "Computing at compile time ends.",
        "compiler, CPU clock",
        Program(
            language="cpp",
            source="constexpr long f() { long n = 0; while (true) { n = n * 3 + 1; n &= 0xffff; } return n; }\nint main() { constexpr long x = f(); return x; }\n",
        ),
        expect=_unlucky("CPU_TIME", "WALL_TIME", "UNSPECIFIED"),
    ),
    Case(
        id="C12",
        name="a very long expression",
        claim="What is large but honest compiles.",
        layer="limits that fit",
        program=Program(
            source=c(
                "#define B0 1+\n"
                + "".join(f"#define B{n} B{n - 1} B{n - 1}\n" for n in range(1, 15))
                + 'ATTACK { say("sum", B14 0); return 0; }\n'
            )
        ),
        expect=Expectation(verdicts=("SUCCESS",), says=("sum=16384",)),
    ),
    _fails(
        "C13",
        "deep parentheses",
        "A compiler that crashes is an error of the source, never ours.",
        "init's true status",
        Program(
            files=(
                (
                    "main.c",
                    b"int main(void) { return\n"
                    + b'#include "open.h"\n' * 4
                    + b"1\n"
                    + b'#include "close.h"\n' * 4
                    + b"; }\n",
                ),
                ("open.h", b"(" * 60_000 + b"\n"),
                ("close.h", b")" * 60_000 + b"\n"),
            )
        ),
        expect=_unlucky("MEMORY", "CPU_TIME", "WALL_TIME", "UNSPECIFIED"),
    ),
    _fails(
        "C14",
        "thousands of errors",
        "Diagnostics are bounded.",
        "-fmax-errors, capped reader",
        Program(source="int main(void) {\n" + "x;\n" * 15_000 + "}\n"),
        "compilation terminated|undeclared",
        fast=True,
    ),
    _fails(
        "C15",
        "escape sequences in a diagnostic",
        "Bytes of a diagnostic come back as bytes, and break no answer.",
        "bytes in the record, JSON",
        Program(source="#error \x1b]0;owned\x07\x1b[2J\nint main(void) { return 0; }\n"),
        "#error",
    ),
    Case(
        id="C16",
        name="annotation processor",
        claim="Compiling Java runs nothing of the submission.",
        layer="compiler options",
        program=Program(
            language="java",
            files=(
                (
                    "Main.java",
                    b'public class Main { public static void main(String[] a) { System.out.println("begun " + a[0]); System.out.println("ran"); } }',
                ),
                ("META-INF/services/javax.annotation.processing.Processor", b"Evil\n"),
                (
                    "Evil.java",
                    (
                        b"import java.util.*; import javax.annotation.processing.*; import javax.lang.model.element.*;\n"
                        b'@SupportedAnnotationTypes("*") public class Evil extends AbstractProcessor {\n'
                        b'public boolean process(Set<? extends TypeElement> t, RoundEnvironment r) { System.out.println("PROCESSOR RAN"); return false; } }\n'
                    ),
                ),
            ),
            memory_kb=524_288,
            processes=128,
        ),
        expect=Expectation(verdicts=("SUCCESS",), says=("ran",), never=("PROCESSOR RAN",)),
    ),
    _fails(
        "C17",
        "including files in Rust",
        "Rust's macros see no file of the host.",
        MOUNTS,
        Program(language="rust", source='fn main() { print!("{}", include_str!("/etc/shadow")); }\n'),
        "shadow",
    ),
    _fails(
        "C18",
        "options of the linker through Go",
        "A Go source chooses no option of the linker and embeds no file of the host.",
        "compiler options",
        Program(
            language="go",
            source='package main\n\nimport _ "embed"\n\n//go:embed /etc/shadow\nvar s string\n\nfunc main() { print(s) }\n',
        ),
        "embed|pattern",
    ),
    *(_named(name) for name in ("-o", "@file", "-fplugin=x.so", "--", "a b")),
    Case(
        id="C20",
        name="files named like the compiler's parts",
        claim="The compiler runs none of its parts from the submission.",
        layer="working directory is not searched",
        program=Program(
            files=(
                ("main.c", c('ATTACK { say("clean", 1); return 0; }').encode()),
                *(
                    (name, b"#!/bin/sh\necho HIJACKED >&2; exit 1\n")
                    for name in ("cc1", "as", "ld", "collect2", "specs", "program", "a.out", "stdio.h")
                ),
            )
        ),
        expect=Expectation(verdicts=("SUCCESS",), says=("clean=1",), never=("HIJACKED",)),
    ),
    Case(
        id="C21",
        name="what compiling leaves behind",
        claim="Nothing of the compiler runs beside the program, and it leaves the program alone.",
        layer="init ends a phase with all its processes",
        program=Program(
            source=c(r"""
ATTACK {
    DIR *d = opendir("/tmp"); int n = 0, others = 0; struct dirent *e;
    while ((e = readdir(d))) if (e->d_name[0] != '.') n++;
    for (int p = 2; p < 40000; p++) if (p != getpid() && kill(p, 0) == 0) others++;
    say("files", n); say("others", others); return 0; }
""")
        ),
        expect=Expectation(verdicts=("SUCCESS",), says=("files=1", "others=0")),
    ),
    _fails(
        "C22",
        "a program of a gigabyte",
        "A program too large to be written is not.",
        SIZES,
        Program(source='__asm__(".data\\n.skip 1000000000, 1\\n");\nint main(void) { return 0; }\n'),
        expect=_unlucky("MEMORY", "UNSPECIFIED"),
    ),
    Case(
        id="C23",
        name="the same source with another header",
        claim="A program is built of all that was sent with it.",
        layer="nothing stale is reused",
        scenario=_stale,
    ),
)
