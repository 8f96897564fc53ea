"""Language files: what is accepted, and the commands they make."""

import re
from pathlib import Path

import pytest
from sentinel.v1 import status_pb2

from services.executor import languages
from services.executor.languages import (
    ARTEFACT,
    SHARED,
    Language,
    LanguageFileError,
    describe,
    detect,
    jail_files,
    load_languages,
)
from services.executor.sandbox.rootfs import BASE

FILES = Path(languages.__file__).parent / "languages"
GOOD = """
name = "shell"
display_name = "Shell"
extension = ".sh"
entry = "main.sh"
packages = ["dash"]
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
    names = {language.name for language in load_languages(FILES)}

    assert {"c", "cpp", "python"} <= names
    assert len(names) >= 15


def test_every_template_is_a_program_that_ends_in_a_line_break() -> None:
    for language in load_languages(FILES):
        template = describe(language, "1", status_pb2.DefaultLimits()).template

        assert template.strip()
        assert template.endswith("\n")
        assert not template.startswith("\n")


def test_an_interpreter_gets_the_entry_and_the_arguments() -> None:
    python = next(language for language in load_languages(FILES) if language.name == "python")

    argv, env = python.run_command(["app/main.py", "util.py"], ["-x", "1"], 1 << 20, {"PATH": "/bin"})

    assert env == {"PATH": "/bin"}
    assert argv[0] == "/usr/bin/python3"
    assert argv[-3:] == ["app/main.py", "-x", "1"]


def test_a_compiler_gets_every_source_by_a_path_that_cannot_be_an_option() -> None:
    cpp = next(language for language in load_languages(FILES) if language.name == "cpp")

    argv, _ = cpp.compile_command(["main.cpp", "lib/b.cc", "data.txt", "a.hpp"], ["-O0"], {})

    assert [word for word in argv if word.startswith("./")] == ["./main.cpp", "./lib/b.cc"]
    assert argv[argv.index("-o") + 1] == ARTEFACT
    assert "-O0" in argv
    assert cpp.run_command(["main.cpp"], ["a"], 1 << 20, {})[0] == [ARTEFACT, "a"]


def test_a_file_named_like_a_placeholder_stays_a_file() -> None:
    cpp = next(language for language in load_languages(FILES) if language.name == "cpp")

    argv, _ = cpp.compile_command(["{artefact}.cpp"], ["{artefact}"], {})

    assert "./{artefact}.cpp" in argv
    assert "{artefact}" in argv


@pytest.mark.parametrize("language", load_languages(FILES), ids=lambda language: language.name)
def test_every_option_is_one_word_of_the_languages_own_choosing(language: Language) -> None:
    for option in language.compile.options if language.compile else ():
        assert language.refused_option([option]) is None
    for option in ("-o", "-fplugin=x.so", "@file", "-wrapper", "--", "", "-Wl,x", "-processorpath", "-toolexec=x"):
        assert language.refused_option([option]) == option


@pytest.mark.parametrize("language", load_languages(FILES), ids=lambda language: language.name)
def test_every_command_is_filled_in_to_the_last_word(language: Language) -> None:
    argv, env = language.run_command(["a/start.x"], [], 64 << 20, {})
    words = [*argv, *env.values()]
    if language.compile:
        argv, env = language.compile_command(["a/start.x"], [], {})
        words += [*argv, *env.values()]

    assert not [word for word in words if re.search(r"(?<!\$){\w+}", word)]
    assert argv[0].startswith("/")
    assert not [word for word in words if "/usr/local" in word]


def test_what_a_language_needs_lies_where_its_commands_look_for_it() -> None:
    known = load_languages(FILES)
    typescript = next(language for language in known if language.name == "typescript")

    files = jail_files(known, FILES)
    argv, _ = typescript.compile_command(["main.ts"], [], {})

    assert [word for word in argv if word.startswith(SHARED)] == [f"{BASE}/languages/typescript/node.d.ts"]
    assert files["languages/typescript/node.d.ts"]
    assert not [name for name in files if name.startswith("/") or ".." in name]


def test_secrets_of_the_machine_stay_out_of_jails(tmp_path: Path) -> None:
    (language,) = load_languages(write(tmp_path, GOOD + '[needs]\netc = ["ssl"]\n'))

    assert not [name for name in jail_files([language], tmp_path) if name.startswith("etc/ssl/private")]


def test_a_language_without_limits_of_its_own_has_the_deployments(tmp_path: Path) -> None:
    (language,) = load_languages(write(tmp_path, GOOD + "[limits]\nmemory_kb = 8192\n"))

    told = describe(language, "1", status_pb2.DefaultLimits(memory_limit_kb=4096, process_limit=3)).default_limits

    assert (told.memory_limit_kb, told.process_limit) == (8192, 3)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{entry}", "{nothing}"),
        ("(\\S+)", "\\S+"),
        ('name = "shell"', 'name = "Shell Script"'),
        ("[run]", "[ran]"),
        ('extension = ".sh"', 'extension = "sh"'),
        ("[run]", '[compile]\nargv = ["/bin/cc", "{sources}"]\n[run]'),
        ("[run]", '[compile]\nargv = ["/bin/cc"]\noptions = ["-O2"]\n[run]'),
        ("[run]", '[compile]\nargv = ["/bin/cc", "{options}"]\noptions = ["-o x"]\n[run]'),
        ("[run]", '[needs]\netc = ["../root"]\n[run]'),
        ("[run]", "[needs]\nproc = true\n[run]"),
        ("[run]", "[limits]\nmemory_kb = 1\n[run]"),
        ('packages = ["dash"]', "packages = []"),
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
