/** Descriptors of a service that tests call. */
import { create, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

/** user.Echo: Say (unary) and Talk (both ways). What messages are is no matter here: the ingress passes bytes. */
export const ECHO = Buffer.from(
  toBinary(
    FileDescriptorSetSchema,
    create(FileDescriptorSetSchema, {
      file: [
        {
          name: "x.proto",
          package: "user",
          syntax: "proto3",
          messageType: [{ name: "M" }],
          service: [
            {
              name: "Echo",
              method: [
                { name: "Say", inputType: ".user.M", outputType: ".user.M" },
                {
                  name: "Talk",
                  inputType: ".user.M",
                  outputType: ".user.M",
                  clientStreaming: true,
                  serverStreaming: true,
                },
              ],
            },
          ],
        },
      ],
    }),
  ),
).toString("base64");
