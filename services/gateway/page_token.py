"""Where a list goes on: opaque to callers, and bound to the filters it was made under."""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from uuid import UUID

from sentinel.v1 import submission_pb2

from services.kit.errors import InvalidField, Violation

_VERSION = b"\x01"
_ID_BYTES = 16
_DIGEST_BYTES = 8


@dataclass(frozen=True, slots=True)
class Filters:
    """What a list was asked to hold."""

    status: "submission_pb2.Status.ValueType"
    """STATUS_UNSPECIFIED for any."""
    language: str
    """Canonical name; empty for any."""

    def digest(self) -> bytes:
        """Short fingerprint. Guards against mistakes, not against forgery: a token opens nothing."""
        text = f"{self.status}\n{self.language}".encode()
        return hashlib.blake2s(text, digest_size=_DIGEST_BYTES).digest()


def make(last: UUID, filters: Filters) -> str:
    """The token for the page after `last`."""
    return base64.urlsafe_b64encode(_VERSION + last.bytes + filters.digest()).rstrip(b"=").decode()


def read(token: str, filters: Filters) -> UUID | None:
    """The id a page begins after; None for the first page.

    Raises InvalidField where the token is not one of ours or was made under other filters.
    """
    if not token:
        return None
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 1 + _ID_BYTES + _DIGEST_BYTES or raw[:1] != _VERSION:
        raise _refused("is not a token from next_page_token")
    if raw[1 + _ID_BYTES :] != filters.digest():
        raise _refused("belongs to a list with other filters; send the same status and language, or no token")
    return UUID(bytes=raw[1 : 1 + _ID_BYTES])


def _refused(description: str) -> InvalidField:
    return InvalidField(f"page_token: {description}", violations=[Violation("page_token", description)])
