import json
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import Descriptor
from openapi_spec_validator import OpenAPIV31SpecValidator

from services.gateway import openapi, stream_schema
from services.gateway.examples import EXAMPLES
from services.kit.grpc_server import validate

DOCUMENT = openapi.document()
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
POOL = descriptor_pool.Default()
OURS = {f"sentinel.v1.{name}" for name in SCHEMAS}


def descriptor_of(component: str) -> Descriptor | None:
    try:
        return POOL.FindMessageTypeByName(f"sentinel.v1.{component.removesuffix('Input')}")
    except KeyError:
        return None


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for verb, operation in item.items():
            yield path, verb, operation


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_the_document_is_valid_openapi() -> None:
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []


def test_the_document_is_the_same_every_time() -> None:
    assert json.dumps(openapi.document()) == json.dumps(DOCUMENT)


def test_every_http_rule_is_documented_with_the_body_and_answer_it_names() -> None:
    rules = list(openapi.rules())
    assert len(rules) == 8
    for rule in rules:
        operation = DOCUMENT["paths"][rule.path][rule.verb]
        assert operation["x-grpc-method"].endswith(f"/{rule.method.name}")
        assert ("requestBody" in operation) == bool(rule.body)
        assert {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"} == set(rule.path_fields)


def test_every_call_that_is_no_rpc_is_documented() -> None:
    documented = {path for path, _, operation in operations() if "x-grpc-method" not in operation}
    assert documented == {
        "/api/v1/submissions/{job_id}/stream",
        "/api/v1/submissions/{job_id}/events",
        "/api/v1/openapi.json",
    }


def test_every_documented_property_is_a_field_and_every_field_is_documented() -> None:
    checked = 0
    for name, schema in SCHEMAS.items():
        message = descriptor_of(name)
        if message is None or "properties" not in schema:
            continue
        assert set(schema["properties"]) == {field.name for field in message.fields}
        checked += 1
    assert checked >= 12


def test_every_schema_is_a_message_an_enum_or_one_of_ours() -> None:
    enums = {"Status", "Limit", "Phase", "Stream"}
    handmade = {*stream_schema.SCHEMAS, "Error", "ErrorDetail", "ItemError"}
    assert {name for name in SCHEMAS if descriptor_of(name) is None} == enums | handmade


def test_every_reference_leads_somewhere() -> None:
    for reference in references(DOCUMENT):
        kind, name = reference.removeprefix("#/components/").split("/")
        assert name in DOCUMENT["components"][kind]


def test_every_call_and_every_field_has_words() -> None:
    for path, verb, operation in operations():
        assert operation["summary"], (path, verb)
    for name, schema in SCHEMAS.items():
        if descriptor_of(name) is not None:
            for field, described in schema["properties"].items():
                assert described.get("description"), (name, field)


@pytest.mark.parametrize(
    ("field", "rules"),
    [
        ("language", {"minLength": 1, "maxLength": 32}),
        ("source_code", {"maxLength": 65536}),
        ("time_limit_ms", {"minimum": 1, "maximum": 30000}),
        ("memory_limit_kb", {"minimum": 4096, "maximum": 1048576}),
        ("output_limit_kb", {"minimum": 1, "maximum": 8192}),
        ("files", {"maxItems": 32}),
        ("idempotency_key", {"pattern": "^[ -~]{0,128}$"}),
        ("env", {"maxProperties": 64, "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]{0,127}$"}}),
    ],
)
def test_the_rules_in_the_proto_stand_in_the_schema(field: str, rules: dict[str, Any]) -> None:
    assert rules.items() <= SCHEMAS["SubmitRequest"]["properties"][field].items()


def test_accepting_answers_202_and_everything_else_200() -> None:
    successes = {path: [s for s in o["responses"] if s[0] == "2"] for path, verb, o in operations() if verb == "post"}
    assert successes == {
        "/api/v1/submissions": ["202"],
        "/api/v1/submissions:batch": ["202"],
        "/api/v1/submissions:run": ["200"],
        "/api/v1/submissions/{job_id}:cancel": ["200"],
    }


def test_every_call_documents_the_errors_it_can_give() -> None:
    for path, _, operation in operations():
        answers = set(operation["responses"])
        assert {"405", "429", "500", "503"} <= answers
        if "{job_id}" in path:
            assert {"400", "404"} <= answers
        if "requestBody" in operation:
            assert {"400", "413", "415"} <= answers
    assert "409" in DOCUMENT["paths"]["/api/v1/submissions"]["post"]["responses"]


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_example_is_a_message_that_the_rules_allow(name: str) -> None:
    message = message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"sentinel.v1.{name}"))()
    validate(json_format.ParseDict(EXAMPLES[name], message))
    assert SCHEMAS[name]["examples"] == [EXAMPLES[name]]


def test_numbers_are_json_numbers() -> None:
    for name, schema in SCHEMAS.items():
        for field, described in schema.get("properties", {}).items():
            assert described.get("format") not in {"int64", "uint64"}, (name, field)
