"""The OpenAPI document of everything that answers over HTTP, written from the proto files. Pure and deterministic."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from sentinel.v1 import scheduler_pb2, status_pb2

from services.gateway import stream_schema
from services.gateway.examples import EXAMPLES
from services.gateway.schema import Comments, Direction, Schema, Schemas

SERVICES: tuple[ServiceDescriptor, ...] = (
    scheduler_pb2.DESCRIPTOR.services_by_name["SchedulerService"],
    status_pb2.DESCRIPTOR.services_by_name["StatusService"],
)

_DESCRIPTION = (
    "Runs untrusted programs and shows what they do while they do it. The same calls answer over gRPC and gRPC-Web "
    "on the same port. Unknown fields and parameters are refused. Every error has the same body."
)
_ACCEPTED = frozenset({"Submit", "SubmitBatch"})
"""They answer 202: the work is accepted, not done."""
_TAKES_KEY = frozenset({"Submit"})

_HTTP_OF_CODE = {
    "INVALID_ARGUMENT": "400",
    "FAILED_PRECONDITION": "400",
    "NOT_FOUND": "404",
    "ALREADY_EXISTS": "409",
    "RESOURCE_EXHAUSTED": "429",
    "INTERNAL": "500",
    "UNAVAILABLE": "503",
}
_ERRORS = {
    "400": "A field, a parameter or the id is wrong; `details` name it.",
    "404": "There is no such submission, or no such path.",
    "405": "The path does not know this method; see the Allow header.",
    "409": "The idempotency key was used with another body.",
    "413": "The body is larger than 1 MiB.",
    "415": "The body is not declared as application/json.",
    "429": "Too many calls from this address; see the Retry-After and X-RateLimit headers.",
    "500": "Our fault; the log has the request id.",
    "503": "Overloaded, leaving, or a dependency is down; see the Retry-After header.",
}
_EVERYWHERE = ("405", "429", "500", "503")
_WITH_BODY = ("413", "415")
_PATH_FIELD = re.compile(r"\{(\w+)\}")
_CODE_IN_COMMENT = re.compile(r"`([A-Z_]+)` \(")


@dataclass(frozen=True, slots=True)
class Rule:
    """How one RPC looks over HTTP."""

    method: MethodDescriptor
    verb: str
    path: str
    body: str
    """`*`, the name of a field, or empty."""
    response_body: str
    """The name of a field, or empty for the whole answer."""

    @property
    def path_fields(self) -> list[str]:
        """Fields of the request that stand in the path."""
        return _PATH_FIELD.findall(self.path)


def rules() -> Iterator[Rule]:
    """Every google.api.http rule, additional bindings too, in the order of the proto files."""
    for service in SERVICES:
        for method in service.methods:
            if not method.GetOptions().HasExtension(annotations_pb2.http):
                continue
            binding: http_pb2.HttpRule = method.GetOptions().Extensions[annotations_pb2.http]
            for one in (binding, *binding.additional_bindings):
                verb = one.WhichOneof("pattern")
                yield Rule(method, verb, getattr(one, verb), one.body, one.response_body)


def document(version: str = "1.0.0") -> dict[str, Any]:
    """The whole document."""
    writer = _Writer(Schemas(Comments.load(), EXAMPLES), Comments.load())
    paths: dict[str, Any] = {}
    for rule in rules():
        paths.setdefault(rule.path, {})[rule.verb] = writer.operation(rule)
    for path, operation in stream_schema.operations(writer.errors).items():
        paths[path] = {"get": operation}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sentinel",
            "version": version,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": s.name, "description": writer.comments.named(s.full_name)} for s in SERVICES]
        + [{"name": stream_schema.TAG, "description": "Following a submission while it runs."}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted({**writer.schemas.named, **stream_schema.SCHEMAS, **_ERROR_SCHEMAS}.items())),
            "responses": {f"Error{status}": _error_response(status) for status in _ERRORS},
        },
    }


class _Writer:
    """Writes operations; gathers the schemas that they refer to."""

    def __init__(self, schemas: Schemas, comments: Comments) -> None:
        self.schemas = schemas
        self.comments = comments

    def operation(self, rule: Rule) -> dict[str, Any]:
        """One call."""
        comment = self.comments.of(rule.method)
        summary = comment.split(". ")[0].split(".\n")[0].replace("\n", " ").rstrip(".") + "."
        operation: dict[str, Any] = {
            "operationId": rule.method.name,
            "tags": [rule.method.containing_service.name],
            "summary": summary,
            "description": comment,
            "x-grpc-method": f"{rule.method.containing_service.full_name}/{rule.method.name}",
        }
        if parameters := list(self._parameters(rule)):
            operation["parameters"] = parameters
        if rule.body:
            content = {"application/json": {"schema": self._body(rule)}}
            operation["requestBody"] = {"required": rule.body != "*" or bool(self._fields(rule)), "content": content}
        operation["responses"] = self._responses(rule, comment)
        return operation

    def errors(self, *statuses: str) -> dict[str, Any]:
        """References to the error answers with these codes, and those that any call may get."""
        wanted = sorted({*statuses, *_EVERYWHERE})
        return {status: {"$ref": f"#/components/responses/Error{status}"} for status in wanted}

    def _fields(self, rule: Rule) -> list[FieldDescriptor]:
        return [f for f in rule.method.input_type.fields if f.name not in rule.path_fields]

    def _parameters(self, rule: Rule) -> Iterator[dict[str, Any]]:
        request = rule.method.input_type
        for name in rule.path_fields:
            yield self._parameter(request.fields_by_name[name], "path")
        if not rule.body:
            for field in self._fields(rule):
                yield self._parameter(field, "query")
        if rule.method.name in _TAKES_KEY:
            yield {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "Makes a repeat return the first one's job, for 24 hours.",
                "schema": self.schemas.field(request.fields_by_name["idempotency_key"], Direction.REQUEST),
            }

    def _parameter(self, field: FieldDescriptor, where: str) -> dict[str, Any]:
        schema = dict(self.schemas.field(field, Direction.REQUEST))
        parameter = {"name": field.name, "in": where, "description": schema.pop("description", ""), "schema": schema}
        return {**parameter, "required": True} if where == "path" else parameter

    def _body(self, rule: Rule) -> Schema:
        request = rule.method.input_type
        if rule.body != "*":
            return self.schemas.reference(_message_of(request, rule.body), Direction.REQUEST)
        if not rule.path_fields:
            return self.schemas.reference(request, Direction.REQUEST)
        properties = {f.name: self.schemas.field(f, Direction.REQUEST) for f in self._fields(rule)}
        return {"type": "object", "properties": properties, "additionalProperties": False}

    def _responses(self, rule: Rule, comment: str) -> dict[str, Any]:
        answer = self._answer(rule)
        content = {"application/json": {"schema": self.schemas.reference(answer, Direction.RESPONSE)}}
        success = "202" if rule.method.name in _ACCEPTED else "200"
        responses = {success: {"description": self.comments.of(answer) or "The answer.", "content": content}}
        codes = {_HTTP_OF_CODE[code] for code in _CODE_IN_COMMENT.findall(comment) if code in _HTTP_OF_CODE}
        errors = self.errors("400", *codes, *(_WITH_BODY if rule.body else ()))
        if rule.method.name == "GetHealth":
            # Trouble is told in the answer itself.
            errors["503"] = {"description": "Something does not answer; per part, why.", "content": content}
        return responses | errors

    def _answer(self, rule: Rule) -> Descriptor:
        answer = rule.method.output_type
        return _message_of(answer, rule.response_body) if rule.response_body else answer


def _message_of(message: Descriptor, field: str) -> Descriptor:
    inner = message.fields_by_name[field].message_type
    if inner is None:
        raise ValueError(f"{message.full_name}.{field}: a body has to be a message")
    return inner


_ERROR_SCHEMAS: dict[str, Schema] = {
    "Error": {
        "type": "object",
        "description": "The body of every error.",
        "required": ["error", "code", "details"],
        "properties": {
            "error": {"type": "string", "description": "One sentence for people."},
            "code": {"type": "string", "description": "Name of the google.rpc code, such as INVALID_ARGUMENT."},
            "details": {"type": "array", "items": {"$ref": "#/components/schemas/ErrorDetail"}},
        },
        "examples": [
            {
                "error": "time_limit_ms: must be less than or equal to 30000",
                "code": "INVALID_ARGUMENT",
                "details": [
                    {
                        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                        "reason": "INVALID_FIELD",
                        "domain": "sentinel",
                        "metadata": {},
                    }
                ],
            }
        ],
    },
    "ErrorDetail": {
        "type": "object",
        "description": "Of google.rpc: ErrorInfo (reason), BadRequest (field_violations), RetryInfo (retry_delay).",
        "required": ["@type"],
        "properties": {"@type": {"type": "string"}},
        "additionalProperties": True,
    },
}


def _error_response(status: str) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": _ERRORS[status],
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    if status in ("429", "503"):
        schema = {"type": "integer", "minimum": 1}
        response["headers"] = {"Retry-After": {"description": "Seconds until asking again helps.", "schema": schema}}
    return response
