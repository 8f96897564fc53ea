"""Fills the template: the same edge on a laptop, in a test and in a container."""

import json
import shutil
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.envoy.fields import Contract
from deploy.envoy.replies import local_replies

HERE = Path(__file__).resolve().parent
DESCRIPTORS = HERE.parents[1] / "gen" / "sentinel.binpb"

DEFAULT_ORIGINS = tuple(f"http://{host}:{port}" for host in ("localhost", "127.0.0.1") for port in (5173, 8080))
RATE_LIMIT_FILTERS = frozenset({"sentinel.local_rate_limit", "sentinel.rate_limit"})
READS_PER_WRITE = 10
BACKSTOP_FACTOR = 2

# Placeholder → method whose JSON body is checked, and whose answer is one field taken out of its message.
STRICT = {
    "strict_submit": "Submit",
    "strict_batch": "SubmitBatch",
    "strict_run": "RunToCompletion",
    "strict_cancel": "Cancel",
}
UNWRAP = {"unwrap_run": "RunToCompletion", "unwrap_cancel": "Cancel", "unwrap_get": "GetSubmission"}
_LUA_PER_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a process listens."""

    host: str
    port: int

    @property
    def socket(self) -> dict[str, Any]:
        """As Envoy writes it."""
        return {"address": self.host, "port_value": self.port}


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """What the template is filled with."""

    listen: Endpoint
    admin: Endpoint
    schedulers: Sequence[Endpoint]
    gateways: Sequence[Endpoint]
    gateways_http: Sequence[Endpoint]
    rate_limit: int = 100
    """Calls that create work, per minute and client address; reads have ten times that; 0 switches limits off."""
    cors_origins: Sequence[str] = DEFAULT_ORIGINS
    read_timeout: str = "10s"
    write_timeout: str = "30s"
    trusted_hops: int = 0
    """Proxies in front whose X-Forwarded-For is believed."""
    max_connections: int = 10000
    cluster_type: str = "STATIC"
    """STRICT_DNS where endpoints are names."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], **places: Any) -> "Edge":
        """Reads RATE_LIMIT, CORS_ORIGINS, READ_TIMEOUT, WRITE_TIMEOUT, TRUSTED_PROXIES and MAX_CONNECTIONS.

        Raises ValueError with a sentence for people.
        """
        given: dict[str, Any] = {}
        for variable, name in (
            ("RATE_LIMIT", "rate_limit"),
            ("TRUSTED_PROXIES", "trusted_hops"),
            ("MAX_CONNECTIONS", "max_connections"),
        ):
            if text := environment.get(variable):
                if not text.isdecimal():
                    raise ValueError(f"{variable}={text}: expected a whole number")
                given[name] = int(text)
        for variable, name in (("READ_TIMEOUT", "read_timeout"), ("WRITE_TIMEOUT", "write_timeout")):
            if text := environment.get(variable):
                given[name] = _duration(variable, text)
        if text := environment.get("CORS_ORIGINS"):
            given["cors_origins"] = _origins(text)
        return cls(**given, **places)


def render(edge: Edge, folder: Path, descriptors: Path = DESCRIPTORS) -> Path:
    """Writes envoy.yaml and all it refers to into `folder`; returns its path. The same input gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    contract = Contract(descriptors)
    (folder / "sentinel.binpb").write_bytes(contract.for_transcoder())
    shutil.copyfile(HERE / "lua" / "answers.lua", folder / "answers.lua")
    (folder / "requests.lua").write_text(contract.lua() + (HERE / "lua" / "requests.lua").read_text())
    target = folder / "envoy.yaml"
    target.write_text(json.dumps(configuration(edge, folder, contract), indent=1, sort_keys=True))
    return target


def configuration(edge: Edge, folder: Path, contract: Contract) -> dict[str, Any]:
    """The whole of Envoy's configuration."""
    values = {
        "listen": edge.listen.socket,
        "admin": edge.admin.socket,
        "schedulers": [_lb_endpoint(endpoint) for endpoint in edge.schedulers],
        "gateways": [_lb_endpoint(endpoint) for endpoint in edge.gateways],
        "gateways_http": [_lb_endpoint(endpoint) for endpoint in edge.gateways_http],
        "cluster_type": edge.cluster_type,
        "trusted_hops": edge.trusted_hops,
        "max_connections": edge.max_connections,
        "read_timeout": edge.read_timeout,
        "write_timeout": edge.write_timeout,
        "cors_origins": [{"exact": origin} for origin in edge.cors_origins],
        "backstop_write": _bucket(edge.rate_limit),
        "backstop_read": _bucket(edge.rate_limit * READS_PER_WRITE),
        "folder": str(folder),
        "local_replies": local_replies(),
        **_per_route(contract),
    }
    whole = _fill(yaml.safe_load((HERE / "envoy.yaml").read_text()), values)
    whole = {key: value for key, value in whole.items() if not key.startswith("x-")}
    if edge.rate_limit == 0:
        manager = whole["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
        manager["http_filters"] = [each for each in manager["http_filters"] if each["name"] not in RATE_LIMIT_FILTERS]
    return dict(whole)


def _fill(node: Any, values: Mapping[str, Any]) -> Any:
    """A string that is one placeholder becomes its value, of whatever type; others are filled as text."""
    if isinstance(node, dict):
        return {key: _fill(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [_fill(value, values) for value in node]
    if isinstance(node, str) and "${" in node:
        name = node[2:-1]
        return values[name] if node == f"${{{name}}}" else string.Template(node).substitute(values)
    return node


def _per_route(contract: Contract) -> dict[str, Any]:
    """What the two Lua filters are told on each route. Raises ValueError where the protos have outgrown the routes."""
    rules = {rule.method: rule for rule in contract.http_rules()}
    told = {name: {"message": rules[method].body_type} for name, method in STRICT.items()}
    told |= {name: {"unwrap": rules[method].response_body} for name, method in UNWRAP.items()}
    lost = {method for method, rule in rules.items() if rule.body_type} - set(STRICT.values())
    lost |= {method for method, rule in rules.items() if rule.response_body} - set(UNWRAP.values())
    if lost:
        raise ValueError(f"deploy/envoy has no route of its own for {sorted(lost)}: see STRICT and UNWRAP")
    return {name: {"@type": _LUA_PER_ROUTE, "filter_context": context} for name, context in told.items()}


def _lb_endpoint(endpoint: Endpoint) -> dict[str, Any]:
    return {"endpoint": {"address": {"socket_address": endpoint.socket}}}


def _bucket(per_minute: int) -> dict[str, Any]:
    tokens = max(1, per_minute * BACKSTOP_FACTOR)
    return {"max_tokens": tokens, "tokens_per_fill": tokens, "fill_interval": "60s"}


def _duration(variable: str, text: str) -> str:
    """Envoy knows seconds only; people write 250ms and 5m too."""
    for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("", 1.0)):
        number = text.removesuffix(unit)
        if number != text or unit == "":
            try:
                return f"{float(number) * factor:g}s"
            except ValueError:
                break
    raise ValueError(f"{variable}={text}: expected a duration such as 250ms, 10s or 5m")


def _origins(text: str) -> list[str]:
    origins = [origin.strip().rstrip("/") for origin in text.split(",") if origin.strip()]
    for origin in origins:
        if origin == "*" or "://" not in origin:
            raise ValueError(f"CORS_ORIGINS: {origin!r} is not an origin such as https://code.example.org")
    return origins
