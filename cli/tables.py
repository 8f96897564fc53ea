"""Records for people: tables on a terminal, tab-separated lines without headings into a pipe."""

from collections.abc import Sequence
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sentinel.v1 import evidence_pb2, status_pb2, submission_pb2

from cli import verdict
from cli.transcript import outputs

Cell = str | Text
_JOB_WIDTH = 36

_TITLES = {
    evidence_pb2.STREAM_COMPILE: "compiler",
    evidence_pb2.STREAM_STDOUT: "stdout",
    evidence_pb2.STREAM_STDERR: "stderr",
}


def submissions(rows: Sequence[submission_pb2.Submission]) -> None:
    """One line each."""
    _table(
        ("JOB", "STATUS", "LANG", "WALL ms", "CREATED"),
        [
            (
                row.job_id,
                _word(row),
                row.language,
                str(row.time_used_ms) if row.HasField("time_used_ms") else "",
                _when(row.created_at) if _console().is_terminal else _local(row.created_at),
            )
            for row in rows
        ],
    )


def languages(rows: Sequence[status_pb2.Language]) -> None:
    """One line each."""
    _table(
        ("LANGUAGE", "NAME", "VERSION", "EXTENSION", "ALIASES"),
        [
            (
                row.name,
                row.display_name,
                row.compiler or row.version,
                row.file_extension,
                ", ".join(row.aliases),
            )
            for row in rows
        ],
    )


def health(answer: status_pb2.GetHealthResponse) -> None:
    """One line per part."""
    rows = [(name.name, getattr(answer.services, name.name)) for name in answer.services.DESCRIPTOR.fields]
    if answer.HasField("executors"):
        rows.append(("executors", f"{answer.executors.connected} connected, {answer.executors.slots} slots"))
    _table(
        ("PART", "STATE"),
        [
            ("sentinel", Text(answer.status, style="green" if answer.status == "ok" else "bold red")),
            *((part, visible(state)) for part, state in rows),
        ],
    )


def submission(one: submission_pb2.Submission) -> None:
    """Everything worth knowing, then each stream that has something."""
    console = _console()
    line = _word(one)
    line.append(f" · {facts}" if (facts := verdict.facts(one)) else "", style="dim")
    console.print(line)
    for name, value in _sheet(one):
        console.print(Text(f"{name:<10}", style="dim"), value, sep="")
    for stream, kept in outputs(one).items():
        if kept:
            console.print(Text(f"── {_TITLES[stream]} ──", style="dim"))
            console.print(Text(visible(kept.decode(errors="replace")).rstrip("\n")))


def visible(text: str) -> str:
    """The text with control characters made visible: another's output must not steer this terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _sheet(one: submission_pb2.Submission) -> list[tuple[str, str]]:
    rows = [
        ("job", one.job_id),
        ("language", one.language),
        ("created", _local(one.created_at)),
        ("started", _local(one.started_at) if one.HasField("started_at") else ""),
        ("finished", _local(one.finished_at) if one.HasField("finished_at") else ""),
        ("limits", _limits(one)),
        ("phases", _phases(one.evidence)),
        ("executor", one.evidence.executor),
    ]
    return [(name, value) for name, value in rows if value]


def _limits(one: submission_pb2.Submission) -> str:
    return (
        f"{one.time_limit_ms} ms wall, {one.cpu_time_limit_ms} ms CPU, {one.memory_limit_kb} KiB memory, "
        f"{one.output_limit_kb} KiB per stream, {one.process_limit} processes"
    )


def _phases(evidence: evidence_pb2.Evidence) -> str:
    return ", ".join(
        f"{evidence_pb2.Phase.Name(time.phase).removeprefix('PHASE_').lower()} {time.duration_ms:.1f} ms"
        for time in evidence.phases
    )


def _word(one: submission_pb2.Submission) -> Text:
    return Text.assemble((verdict.status_word(one), f"bold {verdict.style(one.status)}"))


def _when(stamp: Timestamp) -> str:
    """The time where it was today, else the date: what a narrow column has room for."""
    moment = stamp.ToDatetime(tzinfo=UTC).astimezone()
    return moment.strftime("%H:%M:%S" if moment.date() == datetime.now().astimezone().date() else "%Y-%m-%d")


def _local(stamp: Timestamp) -> str:
    moment = stamp.ToDatetime(tzinfo=UTC).astimezone()
    return moment.isoformat(sep=" ", timespec="seconds")


def _table(headings: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    console = _console()
    if not console.is_terminal:
        for row in rows:
            print("\t".join(str(cell) for cell in row))
        return
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        # What is copied from a table must be whole, however narrow the window.
        table.add_column(heading, overflow="fold", min_width=_JOB_WIDTH if heading == "JOB" else None)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)
