"""Which bytes are shown, whatever order and line the events come over."""

from sentinel.v1 import event_pb2, evidence_pb2

from cli.transcript import Piece, Transcript, Void
from tests.unit.cli.scripted import at, output, result, snapshot

STDOUT, STDERR = evidence_pb2.STREAM_STDOUT, evidence_pb2.STREAM_STDERR


def shown(transcript: Transcript, *events: event_pb2.Event) -> list[Piece | Void]:
    return [news for event in events for news in transcript.feed(event)]


def test_repeated_and_overlapping_output_is_shown_once() -> None:
    news = shown(Transcript(), output(1, b"abc", 0), output(1, b"abc", 0), output(2, b"cde", 2))

    assert [Piece(STDOUT, b"abc"), Piece(STDOUT, b"de")] == news


def test_a_hole_holds_everything_back_until_the_result() -> None:
    news = shown(
        Transcript(),
        output(1, b"a", 0),
        output(3, b"c", 2),
        output(4, b"!", 0, stream=STDERR),
        result(stdout="abcd", stderr="!"),
    )

    assert [Piece(STDOUT, b"a"), Piece(STDOUT, b"bcd"), Piece(STDERR, b"!")] == news


def test_a_new_attempt_voids_only_what_was_shown() -> None:
    silent = shown(Transcript(), snapshot(), output(1, b"x", 0, attempt=2))
    loud = shown(Transcript(), output(1, b"x", 0), output(1, b"x", 0, attempt=2))

    assert [Piece(STDOUT, b"x")] == silent
    assert [Piece(STDOUT, b"x"), Void(1, 2), Piece(STDOUT, b"x")] == loud


def test_a_reader_in_the_middle_is_not_told_the_past() -> None:
    news = shown(Transcript.after(1_000_002), output(3, b"c", 2), result(stdout="abcd", stderr="old"))

    assert [Piece(STDOUT, b"c"), Piece(STDOUT, b"d")] == news


def test_a_reader_in_the_middle_of_a_lost_attempt_gets_the_next_one_whole() -> None:
    news = shown(Transcript.after(1_000_002), result(attempt=2, stdout="abc"))

    assert [Void(1, 2), Piece(STDOUT, b"abc")] == news


def test_the_result_alone_brings_everything_with_the_exact_bytes() -> None:
    end = event_pb2.Event(**at(999_999), result=result(stdout="\ufffd").result)
    end.result.submission.stdout_base64 = b"\xff"

    assert [Piece(STDOUT, b"\xff")] == shown(Transcript(), end)
