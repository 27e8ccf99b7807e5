"""Other readings of the same bytes: OTLP's messages with fields declared otherwise, so that the C parser answers our questions.

What a protobuf message says depends on its declaration, and the parser is told one at run time. Three are made here:

- **merged**: no message is repeated, so that all of one kind are read into one, and a field that any of them has is there.
  It is as strict as the real one: the parser reads each byte and tests each text before it merges.
- **heads**: of a span only its ids and times, of a resource how many attributes it has.
- **outline**: groups, scopes and items as bytes, which tells how long each is. The same for all signals.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_Field = descriptor_pb2.FieldDescriptorProto
_Declaration = descriptor_pb2.DescriptorProto

_ITEM_KINDS: Final = {"Span": (1, 2, 7, 8), "Resource": (1,), "ResourceSpans": (1, 2), "ScopeSpans": (2,)}


def merged(kind: type[Message]) -> Any:
    """The class that reads a request of this kind into one message of each kind.

    Of an `AnyValue`, what it may be besides a plain value (`kvlist_value`, `bytes_value`) is a message that knows no field:
    there or not, and bytes that cannot be read as a message are refused.
    """
    return _declared_anew(kind, _merge)


def heads() -> Any:
    """The class that reads of a trace request what the check asks of each span and resource."""
    return _declared_anew(ExportTraceServiceRequest, _behead)


def outline() -> Any:
    """The class that reads a request of any signal as groups of `resource`, and `scopes` of `scope` and `items`, all bytes."""
    file = descriptor_pb2.FileDescriptorProto(name="outline.proto", package="outline", syntax="proto3")
    many = _Field.LABEL_REPEATED
    levels = {"Request": ("Group", "groups"), "Group": ("Scope", "resource", "scopes"), "Scope": ("", "scope", "items")}
    for name, (inner, *fields) in levels.items():
        declared = file.message_type.add(name=name)
        for number, field in enumerate(fields, 1):
            added = declared.field.add(name=field, number=number, label=many, type=_Field.TYPE_BYTES)
            if inner and number == len(fields):
                added.type, added.type_name = _Field.TYPE_MESSAGE, f".outline.{inner}"
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("outline.Request"))


def _declared_anew(kind: type[Message], change: Callable[[_Declaration], None]) -> Any:
    pool = DescriptorPool()
    for file in _with_imports(kind.DESCRIPTOR.file):
        declared = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(declared)
        for message in declared.message_type:
            change(message)
        pool.AddSerializedFile(declared.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(kind.DESCRIPTOR.full_name))


def _with_imports(file: Any) -> list[Any]:
    """The file behind all those that it imports, each once."""
    files: dict[str, Any] = {}
    for imported in file.dependencies:
        files |= {one.name: one for one in _with_imports(imported)}
    return [*files.values(), file]


def _merge(message: _Declaration) -> None:
    for inner in message.nested_type:
        _merge(inner)
    # The arms of a `oneof` would replace one another.
    del message.oneof_decl[:]
    for field in message.field:
        field.ClearField("oneof_index")
        field.ClearField("proto3_optional")
        if field.type == _Field.TYPE_MESSAGE:
            field.label = _Field.LABEL_OPTIONAL
        if message.name == "AnyValue" and field.name == "bytes_value":
            field.type, field.type_name = _Field.TYPE_MESSAGE, ".opentelemetry.proto.common.v1.KeyValueList"
    if message.name == "KeyValueList":
        del message.field[:]


def _behead(message: _Declaration) -> None:
    if message.name not in _ITEM_KINDS:
        return
    kept = [
        _Field.FromString(field.SerializeToString())
        for field in message.field
        if field.number in _ITEM_KINDS[message.name]
    ]
    for field in kept:
        if message.name == "Resource":
            field.type = _Field.TYPE_BYTES
            field.ClearField("type_name")
    del message.field[:]
    message.field.extend(kept)
