"""What a submission cannot make a compiler do."""

import pytest
from sentinel.v1 import evidence_pb2, executor_pb2, scheduler_pb2, submission_pb2

from tests.languages.conftest import Workshop
from tests.languages.test_languages import DEFAULTS

PROCESSOR = """
import java.util.Set;
import javax.annotation.processing.*;
import javax.lang.model.element.TypeElement;

@SupportedAnnotationTypes("*")
public class Canary extends AbstractProcessor {
    public Canary() { throw new IllegalStateException("the canary sang"); }
    @Override public boolean process(Set<? extends TypeElement> found, RoundEnvironment round) { return false; }
}
"""


async def run(workshop: Workshop, language: str, files: dict[str, str], *options: str) -> tuple[str, str, str]:
    """Verdict, what the compiler said, what the program said."""
    request = scheduler_pb2.SubmitRequest(language=language, compile_args=options)
    for name, text in files.items():
        request.files.append(submission_pb2.SourceFile(name=name, content=text))
    for limit, value in DEFAULTS.items():
        setattr(request, limit, value)
    reports = await workshop.run(request)
    verdict = executor_pb2.Verdict.Name(reports[-1].finished.verdict).removeprefix("VERDICT_")
    said = {stream: b"" for stream in (evidence_pb2.STREAM_COMPILE, evidence_pb2.STREAM_STDOUT)}
    for report in reports:
        if report.HasField("output") and report.output.stream in said:
            said[report.output.stream] += report.output.data
    return verdict, said[evidence_pb2.STREAM_COMPILE].decode(), said[evidence_pb2.STREAM_STDOUT].decode()


async def test_an_annotation_processor_among_the_sources_is_not_run(workshop: Workshop) -> None:
    main = 'public class Main { public static void main(String[] a) { System.out.println("quiet"); } }'
    service = "META-INF/services/javax.annotation.processing.Processor"

    verdict, compiled, said = await run(
        workshop, "java", {"Main.java": main, "Canary.java": PROCESSOR, service: "Canary\n"}
    )

    assert (verdict, said) == ("SUCCESS", "quiet\n"), compiled
    assert "canary" not in compiled


@pytest.mark.parametrize(
    ("language", "name", "source"),
    [
        ("c", "main.c", '#include "/etc/shadow"\nint main(void) {}'),
        ("cpp", "main.cpp", 'asm(".incbin \\"/etc/shadow\\""); int main() {}'),
        ("rust", "main.rs", 'fn main() { println!("{}", include_str!("/etc/shadow")); }'),
        ("rust", "main.rs", 'fn main() { println!("{}", env!("SCHEDULER_ADDRESS")); }'),
        ("go", "main.go", 'package main\nimport _ "embed"\n//go:embed /etc/passwd\nvar s string\nfunc main() {}'),
        ("ocaml", "main.ml", "external f : int -> int = \"%nothing\"\nlet () = exit (f 1)"),
        ("typescript", "main.ts", '/// <reference path="/etc/shadow" />\nconsole.log(1);'),
    ],
)
async def test_what_lies_outside_the_jail_cannot_be_compiled_in(
    workshop: Workshop, language: str, name: str, source: str
) -> None:
    verdict, compiled, said = await run(workshop, language, {name: source})

    assert verdict == "COMPILATION_ERROR", said
    assert "root:" not in compiled + said


async def test_an_include_finds_the_jails_own_files(workshop: Workshop) -> None:
    verdict, _, said = await run(
        workshop, "rust", {"main.rs": 'fn main() { print!("{}", include_str!("/etc/hostname")); }'}
    )

    assert (verdict, said) == ("SUCCESS", "sandbox\n")


async def test_a_module_wants_no_network_and_no_other_toolchain(workshop: Workshop) -> None:
    module = "module demo\n\ngo 1.99\n\ntoolchain go1.99.0\n\nrequire example.org/far v1.0.0\n"
    main = 'package main\n\nimport _ "example.org/far"\n\nfunc main() {}\n'

    verdict, compiled, _ = await run(workshop, "go", {"main.go": main, "go.mod": module})

    assert verdict == "COMPILATION_ERROR"
    assert "example.org/far" in compiled
    assert "dial" not in compiled


async def test_an_option_that_the_language_does_not_list_starts_nothing(workshop: Workshop) -> None:
    verdict, compiled, said = await run(workshop, "c", {"main.c": "int main(void) {}"}, "-fplugin=/work/x.so")

    assert (verdict, compiled, said) == ("COMPILATION_ERROR", "", "")
