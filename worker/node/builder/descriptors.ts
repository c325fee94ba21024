/**
 * From a protobufjs tree to descriptors as protoc makes them: every type name fully qualified, because clients that link descriptors
 * (buf curl) refuse relative ones, which protobufjs's own extension writes. Options without meaning on the wire or in JSON are left out.
 */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type DescriptorProtoSchema,
  type EnumDescriptorProtoSchema,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as FieldType,
  type FieldDescriptorProtoSchema,
  FieldOptions_JSType as JsType,
  FileDescriptorProtoSchema,
  type FileDescriptorProto,
  MethodOptions_IdempotencyLevel as Idempotency,
  type ServiceDescriptorProtoSchema,
} from "@bufbuild/protobuf/wkt";
import protobuf from "protobufjs";
import type { ProtoFile, ProtoTree } from "./proto-files.ts";

type FieldInit = MessageInitShape<typeof FieldDescriptorProtoSchema>;
type MessageInit = MessageInitShape<typeof DescriptorProtoSchema>;
type EnumInit = MessageInitShape<typeof EnumDescriptorProtoSchema>;
type ServiceInit = MessageInitShape<typeof ServiceDescriptorProtoSchema>;

const SCALARS: Readonly<Record<string, FieldType>> = {
  double: FieldType.DOUBLE,
  float: FieldType.FLOAT,
  int64: FieldType.INT64,
  uint64: FieldType.UINT64,
  int32: FieldType.INT32,
  fixed64: FieldType.FIXED64,
  fixed32: FieldType.FIXED32,
  bool: FieldType.BOOL,
  string: FieldType.STRING,
  bytes: FieldType.BYTES,
  uint32: FieldType.UINT32,
  sfixed32: FieldType.SFIXED32,
  sfixed64: FieldType.SFIXED64,
  sint32: FieldType.SINT32,
  sint64: FieldType.SINT64,
};

/** Descriptors of all files of the tree, imported ones first. */
export function fileDescriptors(tree: ProtoTree): FileDescriptorProto[] {
  return [...tree.builtIn, ...tree.files.map((file) => fileDescriptor(tree.root, file))];
}

function fileDescriptor(root: protobuf.Root, file: ProtoFile): FileDescriptorProto {
  const own = topLevel(root, file.name);
  return create(FileDescriptorProtoSchema, {
    name: file.name,
    ...(file.package === "" ? {} : { package: file.package }),
    dependency: [...file.imports],
    publicDependency: file.publicImports.map((name) => file.imports.indexOf(name)),
    messageType: own.filter((o) => o instanceof protobuf.Type).map(message),
    enumType: own.filter((o) => o instanceof protobuf.Enum).map(enumeration),
    service: own.filter((o) => o instanceof protobuf.Service).map(service),
    extension: own.filter((o) => o instanceof protobuf.Field).map(field),
    ...(file.syntax === "proto3" ? { syntax: "proto3" } : {}),
  });
}

/** What a file declares outside of messages: the tree merges files by package. */
function topLevel(namespace: protobuf.NamespaceBase, file: string): protobuf.ReflectionObject[] {
  // Types and services are namespaces too.
  const isPackage = (o: protobuf.ReflectionObject): o is protobuf.Namespace =>
    o instanceof protobuf.Namespace && !(o instanceof protobuf.Type) && !(o instanceof protobuf.Service);
  return namespace.nestedArray.flatMap((o) => (isPackage(o) ? topLevel(o, file) : o.filename === file ? [o] : []));
}

const isDeprecated = (o: protobuf.ReflectionObject): boolean => o.options?.["deprecated"] === true;
const deprecated = (o: protobuf.ReflectionObject): { options?: { deprecated: true } } =>
  isDeprecated(o) ? { options: { deprecated: true } } : {};

function message(type: protobuf.Type): MessageInit {
  // Oneofs that stand for `optional` come behind those that were written.
  const oneofs = [...type.oneofsArray].sort((a, b) => Number(a.isProto3Optional) - Number(b.isProto3Optional));
  // Extensions of a message stand in the tree among its fields, too.
  const fields = type.fieldsArray.filter((f) => f.declaringField === null);
  const maps = fields.flatMap((f) => (f instanceof protobuf.MapField ? [f as protobuf.MapField] : []));
  return {
    name: type.name,
    field: fields.map((f) => ({ ...field(f), ...(f.partOf === null ? {} : { oneofIndex: oneofs.indexOf(f.partOf) }) })),
    nestedType: [...type.nestedArray.filter((o) => o instanceof protobuf.Type).map(message), ...maps.map(mapEntry)],
    enumType: type.nestedArray.filter((o) => o instanceof protobuf.Enum).map(enumeration),
    extension: type.nestedArray.filter((o) => o instanceof protobuf.Field).map(field),
    oneofDecl: oneofs.map(({ name }) => ({ name })),
    // The end of a range is exclusive here, and inclusive in the tree.
    extensionRange: (type.extensions ?? []).map((range) => ({ start: range[0]!, end: range[1]! + 1 })),
    reservedRange: ranges(type.reserved).map(([start, end]) => ({ start, end: end + 1 })),
    reservedName: names(type.reserved),
    ...deprecated(type),
  };
}

const ranges = (reserved: readonly (readonly number[] | string)[] | undefined): [number, number][] =>
  (reserved ?? []).flatMap((r): [number, number][] => (typeof r === "string" ? [] : [[r[0]!, r[1]!]]));
const names = (reserved: readonly (readonly number[] | string)[] | undefined): string[] =>
  (reserved ?? []).filter((r) => typeof r === "string");

function field(f: protobuf.FieldBase): FieldInit {
  const map = f instanceof protobuf.MapField;
  const { required = false, delimited = false } = f as Partial<protobuf.Field>;
  const own = f.options ?? {};
  const options = {
    ...(typeof own["packed"] === "boolean" && f.repeated ? { packed: own["packed"] } : {}),
    ...(isDeprecated(f) ? { deprecated: true } : {}),
    ...(own["jstype"] === "JS_STRING" ? { jstype: JsType.JS_STRING } : {}),
  };
  const resolved = f.resolvedType;
  return {
    name: f.name,
    number: f.id,
    label: map || f.repeated ? Label.REPEATED : required ? Label.REQUIRED : Label.OPTIONAL,
    jsonName: typeof own["json_name"] === "string" ? own["json_name"] : camel(f.name),
    ...(map
      ? { type: FieldType.MESSAGE, typeName: `${f.parent!.fullName}.${entryName(f.name)}` }
      : typeOf(f.type, resolved, delimited)),
    ...(f.extend === undefined ? {} : { extendee: f.parent!.lookupType(f.extend).fullName }),
    ...(own["default"] === undefined ? {} : { defaultValue: String(own["default"]) }),
    ...(own["proto3_optional"] === true ? { proto3Optional: true } : {}),
    ...(Object.keys(options).length === 0 ? {} : { options }),
  };
}

function typeOf(
  name: string,
  resolved: protobuf.Type | protobuf.Enum | null,
  delimited: boolean,
): { type: FieldType; typeName?: string } {
  if (resolved === null) return { type: SCALARS[name]! };
  return {
    type: resolved instanceof protobuf.Enum ? FieldType.ENUM : delimited ? FieldType.GROUP : FieldType.MESSAGE,
    typeName: resolved.fullName,
  };
}

function mapEntry(f: protobuf.MapField): MessageInit {
  return {
    name: entryName(f.name),
    field: [
      { name: "key", number: 1, label: Label.OPTIONAL, jsonName: "key", ...typeOf(f.keyType, null, false) },
      { name: "value", number: 2, label: Label.OPTIONAL, jsonName: "value", ...typeOf(f.type, f.resolvedType, false) },
    ],
    options: { mapEntry: true },
  };
}

function enumeration(e: protobuf.Enum): EnumInit {
  const alias = e.options?.["allow_alias"] === true;
  return {
    name: e.name,
    value: Object.entries(e.values).map(([name, number]) => ({ name, number })),
    // Unlike those of messages, ranges of enums are inclusive.
    reservedRange: ranges(e.reserved).map(([start, end]) => ({ start, end })),
    reservedName: names(e.reserved),
    ...(alias || isDeprecated(e)
      ? { options: { ...(alias ? { allowAlias: true } : {}), ...(isDeprecated(e) ? { deprecated: true } : {}) } }
      : {}),
  };
}

function service(s: protobuf.Service): ServiceInit {
  return {
    name: s.name,
    method: s.methodsArray.map((m) => {
      const level = Idempotency[m.options?.["idempotency_level"] as keyof typeof Idempotency] as
        | Idempotency
        | undefined;
      return {
        name: m.name,
        inputType: m.resolvedRequestType!.fullName,
        outputType: m.resolvedResponseType!.fullName,
        ...(m.requestStream === true ? { clientStreaming: true } : {}),
        ...(m.responseStream === true ? { serverStreaming: true } : {}),
        ...(level === undefined && !isDeprecated(m)
          ? {}
          : {
              options: {
                ...(level === undefined ? {} : { idempotencyLevel: level }),
                ...(isDeprecated(m) ? { deprecated: true } : {}),
              },
            }),
      };
    }),
    ...deprecated(s),
  };
}

/** As protoc: `raw_data` is `rawData`. */
const camel = (name: string): string => name.replace(/_+(.?)/g, (_, letter: string) => letter.toUpperCase());
/** As protoc: the entry type of `my_map` is `MyMapEntry`. */
const entryName = (name: string): string => `${camel(`_${name}`)}Entry`;
