"""Settings read once from the environment, typed, with their units in their names."""

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST_SECONDS = 10_000 * 3600.0


def parse_duration(value: Any) -> Any:
    """Reads `250ms`, `10s`, `5m`, `1h` or plain seconds; leaves anything else to the validator."""
    if not isinstance(value, str):
        return value
    text, unit_seconds = value.strip(), 1.0
    for unit, seconds in _UNIT_SECONDS.items():
        if text.endswith(unit):
            text, unit_seconds = text.removesuffix(unit), seconds
            break
    total = float(text) * unit_seconds
    if not 0 <= total <= _LONGEST_SECONDS:
        raise ValueError("expected a duration from 0 to 10000h, such as 250ms, 10s, 5m or 1h")
    return timedelta(seconds=total)


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""Comma-separated list."""


class ServiceSettings(BaseSettings):
    """What every process may be told. Names are the environment variables, upper-cased.

    Raises `pydantic.ValidationError`, naming variable and expectation, when a value does not parse.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", case_sensitive=False)

    app_env: str = Field("debug", pattern="^(debug|release)$")
    log_level: str = Field("info", pattern="(?i)^(debug|info|warning|error)$")
    metrics_port: int = Field(9090, ge=0, le=65535)
    """Admin listener: /metrics, /healthz, /readyz. 0 takes any free port."""
    admin_host: str = "127.0.0.1"
    drain_grace: Duration = timedelta(seconds=30)
    """Longest wait for what is under way after SIGTERM."""
