/** Answers of the reflection service, from descriptors. The same for v1 and v1alpha. Pure. */
import { toBinary, type DescFile, type FileRegistry } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { GRPC_STATUS } from "../../protocol/grpc.ts";

/** A ServerReflectionRequest's question, as decoded. */
export type Question =
  | {
      readonly case: "fileByFilename" | "fileContainingSymbol" | "allExtensionNumbersOfType" | "listServices";
      readonly value: string;
    }
  | {
      readonly case: "fileContainingExtension";
      readonly value: { readonly containingType: string; readonly extensionNumber: number };
    }
  | { readonly case: undefined; readonly value?: undefined };

/** A ServerReflectionResponse's `message_response`, ready for `create`. */
export type Reflected = { readonly case: string; readonly value: object };

const failure = (errorCode: number, errorMessage: string): Reflected => ({
  case: "errorResponse",
  value: { errorCode, errorMessage },
});

/** `registries`: the first one that knows a name answers. */
export function reflect(
  question: Question,
  services: readonly string[],
  registries: readonly FileRegistry[],
): Reflected {
  switch (question.case) {
    case "listServices":
      return { case: "listServicesResponse", value: { service: services.map((name) => ({ name })) } };
    case "fileByFilename":
      return filesOf(
        first(registries, (registry) => registry.getFile(question.value)),
        question.value,
      );
    case "fileContainingSymbol":
      return filesOf(
        first(registries, (registry) => fileOf(registry, question.value)),
        question.value,
      );
    case "fileContainingExtension": {
      const { containingType, extensionNumber } = question.value;
      return filesOf(
        first(registries, (registry) => extensionsOf(registry, containingType)?.get(extensionNumber)),
        `${containingType}[${extensionNumber}]`,
      );
    }
    case "allExtensionNumbersOfType": {
      const extensions = first(registries, (registry) => extensionsOf(registry, question.value));
      if (extensions === undefined) return failure(GRPC_STATUS.NOT_FOUND, `There is no message ${question.value}.`);
      return {
        case: "allExtensionNumbersResponse",
        value: { baseTypeName: question.value, extensionNumber: [...extensions.keys()] },
      };
    }
    default:
      return failure(GRPC_STATUS.INVALID_ARGUMENT, "The request asks nothing.");
  }
}

function first<T>(registries: readonly FileRegistry[], find: (registry: FileRegistry) => T | undefined): T | undefined {
  for (const registry of registries) {
    const found = find(registry);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** File of a type, or of the type that a method, field or enum value belongs to. */
function fileOf(registry: FileRegistry, symbol: string): DescFile | undefined {
  const type = registry.get(symbol) ?? registry.get(symbol.slice(0, Math.max(0, symbol.lastIndexOf("."))));
  return type?.file;
}

/** Files by extension number; undefined when there is no such message. */
function extensionsOf(registry: FileRegistry, message: string): Map<number, DescFile> | undefined {
  if (registry.getMessage(message) === undefined) return undefined;
  return new Map(
    [...registry].flatMap((type) =>
      type.kind === "extension" && type.extendee.typeName === message ? [[type.number, type.file] as const] : [],
    ),
  );
}

/** The file and all that it imports: clients ask less often then. */
function filesOf(file: DescFile | undefined, name: string): Reflected {
  if (file === undefined) return failure(GRPC_STATUS.NOT_FOUND, `There is no ${name}.`);
  const files = new Set<DescFile>();
  const add = (one: DescFile): void => {
    if (files.has(one)) return;
    files.add(one);
    one.dependencies.forEach(add);
  };
  add(file);
  return {
    case: "fileDescriptorResponse",
    value: { fileDescriptorProto: [...files].map((one) => toBinary(FileDescriptorProtoSchema, one.proto)) },
  };
}
