"""Language files: what is accepted, and the commands they make."""

from pathlib import Path

import pytest
from sentinel.v1 import status_pb2

from services.executor import languages
from services.executor.languages import ARTEFACT, LanguageFileError, describe, detect, load_languages

FILES = Path(languages.__file__).parent / "languages"
GOOD = """
name = "shell"
display_name = "Shell"
extension = ".sh"
entry = "main.sh"
template = "echo hi"
[detect]
argv = ["/bin/sh", "-c", "echo version 1.2"]
version = 'version (\\S+)'
[run]
argv = ["/bin/sh", "{entry}"]
"""


def write(directory: Path, text: str, name: str = "shell.toml") -> Path:
    (directory / name).write_text(text)
    return directory


def test_our_own_files_load() -> None:
    assert [language.name for language in load_languages(FILES)] == ["c", "cpp", "python"]


def test_every_template_is_a_program_that_ends_in_a_line_break() -> None:
    for language in load_languages(FILES):
        template = describe(language, "1", status_pb2.DefaultLimits()).template

        assert template.strip()
        assert template.endswith("\n")
        assert not template.startswith("\n")


def test_an_interpreter_gets_the_entry_and_the_arguments() -> None:
    python = next(language for language in load_languages(FILES) if language.name == "python")

    argv = python.run_argv(["app/main.py", "util.py"], ["-x", "1"])

    assert argv[0] == "/usr/bin/python3"
    assert argv[-3:] == ["app/main.py", "-x", "1"]


def test_a_compiler_gets_every_source_by_a_path_that_cannot_be_an_option() -> None:
    cpp = next(language for language in load_languages(FILES) if language.name == "cpp")

    argv = cpp.compile_argv(["main.cpp", "lib/b.cc", "data.txt", "a.hpp"])

    assert [word for word in argv if word.startswith("./")] == ["./main.cpp", "./lib/b.cc"]
    assert argv[argv.index("-o") + 1] == ARTEFACT
    assert cpp.run_argv(["main.cpp"], ["a"]) == [ARTEFACT, "a"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{entry}", "{nothing}"),
        ("(\\S+)", "\\S+"),
        ('name = "shell"', 'name = "Shell Script"'),
        ("[run]", "[ran]"),
        ('extension = ".sh"', 'extension = "sh"'),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, old: str, new: str) -> None:
    with pytest.raises(LanguageFileError, match=r"shell\.toml"):
        load_languages(write(tmp_path, GOOD.replace(old, new)))


def test_two_files_may_not_claim_one_word(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    write(tmp_path, GOOD.replace('name = "shell"', 'name = "bash"\naliases = ["shell"]'), "bash.toml")

    with pytest.raises(LanguageFileError, match="already means"):
        load_languages(tmp_path)


def test_the_version_is_what_the_machine_says(tmp_path: Path) -> None:
    (shell,) = load_languages(write(tmp_path, GOOD))

    assert detect(shell) == "1.2"


def test_a_missing_toolchain_has_no_version(tmp_path: Path) -> None:
    (shell,) = load_languages(write(tmp_path, GOOD.replace('"/bin/sh", "-c"', '"/nonexistent/sh", "-c"')))

    assert detect(shell) is None


def test_no_files_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LanguageFileError):
        load_languages(tmp_path)
