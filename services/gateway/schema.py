"""Proto descriptors → JSON Schema, as the transcoder reads and prints them.

Rules written for protovalidate become minimum, maxLength and so on; comments become descriptions; what is always
printed is required in answers, and what a rule requires in requests.
"""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from buf.validate import validate_pb2
from google.protobuf import descriptor_pb2, timestamp_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, MethodDescriptor
from google.rpc import status_pb2 as rpc_status_pb2
from sentinel.v1 import status_pb2, submission_pb2

Schema = dict[str, Any]

_COMMENTS = Path(status_pb2.__file__).parents[2] / "sentinel.docs.binpb"
"""Our own files with their comments: gen/, beside the generated modules."""

_RPC_STATUS = rpc_status_pb2.Status.DESCRIPTOR.full_name
_SENT_AND_GOT = submission_pb2.SourceFile.DESCRIPTOR.full_name


class Direction(StrEnum):
    """Who writes the message."""

    REQUEST = "request"
    RESPONSE = "response"


class Comments:
    """What the proto files say about each thing in them, by full name."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    @classmethod
    def load(cls, path: Path = _COMMENTS) -> "Comments":
        """Reads the descriptor set with source info that scripts/generate.sh writes."""
        texts: dict[str, str] = {}
        for file in descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes()).file:
            for location in file.source_code_info.location:
                if location.leading_comments:
                    texts[_name_at(file, list(location.path))] = _tidy(location.leading_comments)
        return cls(texts)

    def of(self, thing: Descriptor | EnumDescriptor | FieldDescriptor | MethodDescriptor) -> str:
        """The comment above it; empty where there is none."""
        return self.named(thing.full_name)

    def named(self, full_name: str) -> str:
        """The comment above what has this full name. Enum values count as children of their enum."""
        return self._texts.get(full_name, "")


def _name_at(file: descriptor_pb2.FileDescriptorProto, path: list[int]) -> str:
    names = [file.package]
    node: Any = file
    for field_number, index in zip(path[::2], path[1::2], strict=False):
        node = getattr(node, node.DESCRIPTOR.fields_by_number[field_number].name)
        if not hasattr(node, "__len__"):
            return ""
        node = node[index]
        names.append(getattr(node, "name", ""))
    return ".".join(names)


def _tidy(comment: str) -> str:
    return "\n".join(line.removeprefix(" ") for line in comment.strip("\n").split("\n")).strip()


class Schemas:
    """The named schemas of a document, gathered as they are referred to."""

    def __init__(self, comments: Comments, examples: Mapping[str, Any]) -> None:
        self._comments = comments
        self._examples = examples
        self.named: dict[str, Schema] = {}
        """Component name → schema."""

    def reference(self, message: Descriptor, direction: Direction) -> Schema:
        """A `$ref` to the message's schema, which is made on first use."""
        if message.full_name == timestamp_pb2.Timestamp.DESCRIPTOR.full_name:
            return {"type": "string", "format": "date-time"}
        name = self._component_name(message, direction)
        if name not in self.named:
            # Before its fields, which may refer back to it.
            self.named[name] = {}
            self.named[name] = self._message(message, direction)
        return {"$ref": f"#/components/schemas/{name}"}

    def field(self, field: FieldDescriptor, direction: Direction) -> Schema:
        """The schema of one field, with its comment and rules."""
        rules = field.GetOptions().Extensions[validate_pb2.field]
        message = field.message_type
        if message is not None and message.GetOptions().map_entry:
            schema = self._map(message.fields_by_name["value"], rules.map, direction)
        elif field.is_repeated:
            schema = {"type": "array", "items": self._single(field, rules.repeated.items, direction)}
            schema |= _present(rules.repeated, {"min_items": "minItems", "max_items": "maxItems"})
        else:
            schema = self._single(field, rules, direction)
        if comment := self._comments.of(field):
            schema = {**schema, "description": comment}
        return schema

    def required(self, message: Descriptor, direction: Direction) -> list[str]:
        """Names of the fields that are always there."""
        return [f.name for f in message.fields if _always_there(f, direction)]

    def _component_name(self, message: Descriptor, direction: Direction) -> str:
        # A message that callers both send and get has other required fields each way.
        if message.full_name == _SENT_AND_GOT and direction is Direction.REQUEST:
            return f"{message.name}Input"
        # google.rpc.Status would take the name of our own word for where a submission stands.
        return "ItemError" if message.full_name == _RPC_STATUS else message.name

    def _message(self, message: Descriptor, direction: Direction) -> Schema:
        if message.full_name == _RPC_STATUS:
            return _rpc_status()
        schema: Schema = {
            "type": "object",
            "properties": {f.name: self.field(f, direction) for f in message.fields},
        }
        if comment := self._comments.of(message):
            schema["description"] = comment
        if required := self.required(message, direction):
            schema["required"] = required
        if direction is Direction.REQUEST:
            schema["additionalProperties"] = False
        if (example := self._examples.get(message.name)) is not None:
            schema["examples"] = [example]
        for rule in message.GetOptions().Extensions[validate_pb2.message].cel:
            schema["description"] = f"{schema.get('description', '')}\n\nRule: {rule.message}.".strip()
        return schema

    def _map(self, values: FieldDescriptor, rules: validate_pb2.MapRules, direction: Direction) -> Schema:
        schema: Schema = {
            "type": "object",
            "additionalProperties": self._single(values, rules.values, direction),
            **_present(rules, {"min_pairs": "minProperties", "max_pairs": "maxProperties"}),
        }
        keys = _string_rules(rules.keys.string)
        return {**schema, "propertyNames": keys} if keys else schema

    def _single(self, field: FieldDescriptor, rules: validate_pb2.FieldRules, direction: Direction) -> Schema:
        if field.enum_type is not None:
            return self._enum(field.enum_type)
        if field.message_type is not None:
            return self.reference(field.message_type, direction)
        return _scalar(field, rules)

    def _enum(self, enum: EnumDescriptor) -> Schema:
        if enum.name not in self.named:
            values = [f"* `{v.name}`: {self._comments.named(f'{enum.full_name}.{v.name}')}" for v in enum.values]
            self.named[enum.name] = {
                "type": "string",
                "enum": [value.name for value in enum.values],
                "description": "\n".join([self._comments.of(enum), "", *values]),
            }
        return {"$ref": f"#/components/schemas/{enum.name}"}


def _scalar(field: FieldDescriptor, rules: validate_pb2.FieldRules) -> Schema:
    match field.type:
        case FieldDescriptor.TYPE_BOOL:
            return {"type": "boolean"}
        case FieldDescriptor.TYPE_INT32:
            return {"type": "integer", "format": "int32", **_number_rules(rules.int32)}
        case FieldDescriptor.TYPE_DOUBLE:
            return {"type": "number", "format": "double"}
        case FieldDescriptor.TYPE_STRING:
            return {"type": "string", **_string_rules(rules.string)}
        case FieldDescriptor.TYPE_BYTES:
            return {"type": "string", "contentEncoding": "base64", **_bytes_rules(rules.bytes)}
    # 64-bit integers would be JSON strings: the contract has none.
    raise ValueError(f"{field.full_name}: no JSON form is agreed for this type")


def _always_there(field: FieldDescriptor, direction: Direction) -> bool:
    if direction is Direction.RESPONSE:
        return not field.has_presence
    rules = field.GetOptions().Extensions[validate_pb2.field]
    return bool(rules.required or rules.string.min_len or rules.string.uuid or rules.repeated.min_items)


def _present(rules: Any, names: Mapping[str, str]) -> Schema:
    return {theirs: getattr(rules, ours) for ours, theirs in names.items() if rules.HasField(ours)}


def _number_rules(rules: validate_pb2.Int32Rules) -> Schema:
    return _present(rules, {"gte": "minimum", "lte": "maximum"})


def _string_rules(rules: validate_pb2.StringRules) -> Schema:
    # Bytes, not characters: a text within the rule never has more characters than the rule has bytes.
    schema = _present(rules, {"min_len": "minLength", "max_len": "maxLength", "pattern": "pattern"})
    schema |= _present(rules, {"max_bytes": "maxLength"})
    if rules.uuid:
        schema["format"] = "uuid"
    return schema


def _bytes_rules(rules: validate_pb2.BytesRules) -> Schema:
    return {"maxLength": -(-rules.max_len // 3) * 4} if rules.HasField("max_len") else {}


def _rpc_status() -> Schema:
    return {
        "type": "object",
        "description": "google.rpc.Status: why one item was refused.",
        "required": ["code", "message", "details"],
        "properties": {
            "code": {"type": "integer", "format": "int32", "description": "Number of the google.rpc code."},
            "message": {"type": "string", "description": "One sentence for people."},
            "details": {"type": "array", "items": {"$ref": "#/components/schemas/ErrorDetail"}},
        },
    }
