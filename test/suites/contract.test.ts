/**
 * Holds ts-proto's output against a second, independent reading of the same .proto files: @grpc/proto-loader. Service
 * paths and stream kinds, and for every message of ours the bytes and the names of every field.
 *
 * Messages are filled by walking the descriptor, so a field that is added later is covered without a change here.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import {
  loadSync,
  type MessageTypeDefinition,
  type PackageDefinition,
  type ServiceDefinition,
} from "@grpc/proto-loader";
import { HealthService } from "../../src/generated/grpc/health/v1/health";
import * as details from "../../src/generated/google/rpc/error_details";
import * as rpcStatus from "../../src/generated/google/rpc/status";
import { fileDescriptors } from "../../src/generated/descriptors";
import * as raftMessages from "../../src/generated/muster/raft/v1/raft";
import * as raftService from "../../src/generated/muster/raft/v1/raft_service";
import * as command from "../../src/generated/muster/storage/v1/command";
import * as savedSnapshot from "../../src/generated/muster/storage/v1/saved_snapshot";
import * as snapshot from "../../src/generated/muster/storage/v1/snapshot";
import * as wal from "../../src/generated/muster/storage/v1/wal";
import * as maintenance from "../../src/generated/muster/v1/maintenance_service";
import * as member from "../../src/generated/muster/v1/member";
import * as membership from "../../src/generated/muster/v1/membership_service";

const protoRoot = path.resolve(__dirname, "../../proto");

const files = fs
  .readdirSync(protoRoot, { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".proto"))
  .map((name) => name.split(path.sep).join("/"))
  .sort();

const loaded: PackageDefinition = loadSync(files, {
  includeDirs: [protoRoot],
  longs: String,
  enums: String,
  bytes: String,
});

/** A message as ts-proto makes it. */
interface Codec {
  encode(message: unknown): { finish(): Uint8Array };
  decode(bytes: Uint8Array): unknown;
  toJSON(message: unknown): unknown;
}

/** Field kinds of google.protobuf.FieldDescriptorProto, as far as the contract uses them. */
interface Field {
  readonly name: string;
  readonly label: string;
  readonly type: string;
  readonly typeName: string;
}
interface EnumDescriptor {
  readonly name: string;
  readonly value: readonly { readonly name: string; readonly number: number }[];
}
interface Descriptor {
  readonly name: string;
  readonly field: readonly Field[];
  readonly nestedType: readonly Descriptor[];
  readonly enumType: readonly EnumDescriptor[];
  readonly options?: { readonly mapEntry?: boolean } | null;
}

const MODULES: readonly (readonly [string, object])[] = [
  ["muster.v1", member],
  ["muster.v1", membership],
  ["muster.v1", maintenance],
  ["muster.raft.v1", raftMessages],
  ["muster.raft.v1", raftService],
  ["muster.storage.v1", command],
  ["muster.storage.v1", snapshot],
  ["muster.storage.v1", savedSnapshot],
  ["muster.storage.v1", wal],
  ["google.rpc", details],
  ["google.rpc", rpcStatus],
];

function isCodec(value: unknown): value is Codec {
  return (
    typeof value === "object" && value !== null && "encode" in value && "decode" in value && "toJSON" in value
  );
}

/** Every message that ts-proto made, by its full name; nested ones as Outer.Inner. */
const codecs = new Map<string, Codec>();
for (const [packageName, module] of MODULES) {
  for (const [name, value] of Object.entries(module)) {
    if (isCodec(value)) codecs.set(`${packageName}.${name.replaceAll("_", ".")}`, value);
  }
}

function isMessage(value: PackageDefinition[string]): value is MessageTypeDefinition<object, object> {
  return "format" in value && value.format === "Protocol Buffer 3 DescriptorProto";
}

function messageOf(name: string): MessageTypeDefinition<object, object> {
  const found = loaded[name];
  if (found === undefined || !isMessage(found)) throw new Error(`proto-loader knows no message ${name}`);
  return found;
}

/** Every message and enum of the files, nested ones too (proto-loader itself lists only the outer ones). */
const descriptors = new Map<string, Descriptor>();
const enums = new Map<string, EnumDescriptor>();
function register(name: string, descriptor: Descriptor): void {
  descriptors.set(name, descriptor);
  for (const nested of descriptor.nestedType) register(`${name}.${nested.name}`, nested);
  for (const nested of descriptor.enumType) enums.set(`${name}.${nested.name}`, nested);
}
for (const [name, value] of Object.entries(loaded)) {
  if (isMessage(value)) register(name, value.type as unknown as Descriptor);
  else if ("format" in value) enums.set(name, value.type as unknown as EnumDescriptor);
}

function descriptorOf(name: string): Descriptor {
  const found = descriptors.get(name);
  if (found === undefined) throw new Error(`proto-loader knows no message ${name}`);
  return found;
}

/** An enum's first value other than zero. */
function enumValue(name: string): string {
  const picked = enums.get(name)?.value.find(({ number }) => number !== 0);
  if (picked === undefined) throw new Error(`${name} has no value but zero`);
  return picked.name;
}

const camel = (name: string): string =>
  name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

/** Fills messages with values that tell each field from every other. */
class Filler {
  private next = 1;

  fill(name: string, depth = 0): Record<string, unknown> {
    const descriptor = descriptorOf(name);
    const oneofsSeen = new Set<number>();
    const filled: Record<string, unknown> = {};
    for (const field of descriptor.field) {
      // One member of a oneof may be set; proto3's `optional` is a oneof of one.
      const { oneofIndex } = field as { oneofIndex?: number };
      const inOneof = Object.hasOwn(field, "oneofIndex") && oneofIndex !== undefined;
      if (inOneof && oneofsSeen.has(oneofIndex)) continue;
      if (inOneof) oneofsSeen.add(oneofIndex);
      const value = this.value(name, descriptor, field, depth);
      if (value !== undefined) filled[camel(field.name)] = value;
    }
    return filled;
  }

  private value(owner: string, descriptor: Descriptor, field: Field, depth: number): unknown {
    if (field.type === "TYPE_MESSAGE") {
      const entry = descriptor.nestedType.find((nested) => nested.name === field.typeName.split(".").at(-1));
      if (entry?.options?.mapEntry === true) return { [`key${this.next++}`]: `value${this.next++}` };
      if (depth > 4) return undefined;
      const inner = this.fill(this.fullName(owner, field.typeName), depth + 1);
      return field.label === "LABEL_REPEATED" ? [inner] : inner;
    }
    const one = this.scalar(owner, field);
    return field.label === "LABEL_REPEATED" ? [one, this.scalar(owner, field)] : one;
  }

  private scalar(owner: string, field: Field): unknown {
    const n = this.next++;
    switch (field.type) {
      case "TYPE_STRING":
        return `${field.name} ${n}`;
      case "TYPE_BYTES":
        return Buffer.from([n & 0xff, 0, 255]).toString("base64");
      case "TYPE_BOOL":
        return true;
      case "TYPE_ENUM":
        return enumValue(this.fullName(owner, field.typeName));
      case "TYPE_FIXED64":
        return String(0xffff_ffff_ffff_0000n + BigInt(n));
      case "TYPE_INT64":
      case "TYPE_UINT64":
        // Beyond 32 bits, within what a number holds exactly.
        return String(2 ** 40 + n);
      case "TYPE_INT32":
      case "TYPE_UINT32":
      case "TYPE_FIXED32":
        return n;
      default:
        throw new Error(`${owner}.${field.name}: no sample for ${field.type}`);
    }
  }

  /** proto-loader leaves type names as written in the file or fully qualified; look outwards as protoc does. */
  private fullName(owner: string, typeName: string): string {
    const name = typeName.replace(/^\./, "");
    for (let scope = owner; ; scope = scope.slice(0, Math.max(0, scope.lastIndexOf(".")))) {
      const candidate = scope === "" ? name : `${scope}.${name}`;
      if (descriptors.has(candidate) || enums.has(candidate)) return candidate;
      if (scope === "") throw new Error(`${owner}: no type ${typeName}`);
    }
  }
}

/** Evens out two JSON dialects: numbers as strings, durations as proto3 JSON writes them. */
function normalised(value: unknown): unknown {
  if (typeof value === "number") return String(value);
  if (Array.isArray(value)) return value.map(normalised);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value);
  const keys = entries
    .map(([key]) => key)
    .sort()
    .join();
  if (keys === "nanos,seconds") {
    const { seconds, nanos } = value as { seconds: string; nanos: number };
    return `${seconds}.${String(nanos)
      .padStart(9, "0")
      .replace(/(000)+$/, "")}s`;
  }
  return Object.fromEntries(entries.map(([key, inner]) => [key, normalised(inner)]));
}

const ours = Object.entries(loaded)
  .filter(([name, value]) => isMessage(value) && /^muster\.|^google\.rpc\./.test(name))
  .map(([name]) => name)
  .filter((name) => !/Entry$/.test(name) || codecs.has(name));

describe("messages", () => {
  it("all exist on both sides", () => {
    expect(ours.filter((name) => !codecs.has(name))).toEqual([]);
    expect(ours.length).toBeGreaterThan(40);
  });

  it.each(ours)("%s has the same bytes and the same names", (name) => {
    const codec = codecs.get(name);
    if (codec === undefined) throw new Error(`ts-proto made no ${name}`);
    const theirs = messageOf(name);
    const filled = new Filler().fill(name);
    const bytes = theirs.serialize(filled);
    const message = codec.decode(bytes);
    expect(Buffer.from(codec.encode(message).finish()).toString("hex")).toBe(bytes.toString("hex"));
    expect(normalised(codec.toJSON(message))).toEqual(normalised(theirs.deserialize(bytes)));
    // Without fields there is nothing to lose; with them the sample must not be empty.
    expect(bytes.length > 0).toBe(descriptorOf(name).field.length > 0);
  });

  it.each(ours)("%s without fields is no bytes", (name) => {
    const codec = codecs.get(name);
    if (codec === undefined) throw new Error(`ts-proto made no ${name}`);
    expect(codec.encode(codec.decode(new Uint8Array(0))).finish()).toHaveLength(0);
    expect(messageOf(name).serialize({})).toHaveLength(0);
  });
});

describe("services", () => {
  it.each([
    ["muster.v1.MembershipService", membership.MembershipServiceService],
    ["muster.v1.MaintenanceService", maintenance.MaintenanceServiceService],
    ["muster.raft.v1.RaftService", raftService.RaftServiceService],
    ["grpc.health.v1.Health", HealthService],
  ])("%s has the same methods, paths, stream kinds and request bytes", (name, generated) => {
    const theirs = loaded[name] as ServiceDefinition;
    const shape = (service: object): unknown =>
      Object.values(
        service as Record<string, { path: string; requestStream: boolean; responseStream: boolean }>,
      )
        .map((method) => `${method.path} ${method.requestStream} ${method.responseStream}`)
        .sort();
    expect(shape(generated)).toEqual(shape(theirs));
    for (const method of Object.values(generated) as {
      path: string;
      requestSerialize(value: unknown): Buffer;
    }[]) {
      const definition = Object.values(theirs).find((candidate) => candidate.path === method.path);
      const request = (definition?.requestType.type as unknown as Descriptor).name;
      const packageName = name.slice(0, name.lastIndexOf("."));
      const codec = codecs.get(`${packageName}.${request}`);
      // The health service is vendored: its messages are covered by its own definition here.
      const bytes =
        definition?.requestSerialize(new Filler().fill(`${packageName}.${request}`)) ?? Buffer.alloc(0);
      if (codec !== undefined) expect(method.requestSerialize(codec.decode(bytes))).toEqual(bytes);
      expect(definition).toBeDefined();
    }
  });
});

describe("reflection data", () => {
  it("holds every file of the contract, imported files first", () => {
    const names = fileDescriptors.map(({ name }) => name);
    expect(files.filter((file) => !names.includes(file))).toEqual([]);
    expect(names.indexOf("google/protobuf/duration.proto")).toBeLessThan(
      names.indexOf("muster/v1/member.proto"),
    );
    expect(names.indexOf("muster/v1/member.proto")).toBeLessThan(
      names.indexOf("muster/v1/membership_service.proto"),
    );
    for (const { name, base64 } of fileDescriptors) {
      // Field 1 of a FileDescriptorProto is its name.
      const bytes = Buffer.from(base64, "base64");
      expect(bytes.subarray(2, 2 + name.length).toString()).toBe(name);
    }
  });
});
