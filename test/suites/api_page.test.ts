/**
 * docs/api.md against the contract: every call has its section with every field of its request and an example that fits,
 * every reason its row with its status code.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { loadSync } from "@grpc/proto-loader";
import type { MethodDefinition, ServiceDefinition } from "@grpc/proto-loader";
import { ErrorReason } from "../../src/generated/muster/v1/errors";
import { MaintenanceServiceService } from "../../src/generated/muster/v1/maintenance_service";
import { MembershipServiceService } from "../../src/generated/muster/v1/membership_service";
import { GRPC_STATUS, StatusCode } from "../../src/rpc/rpc_error";
import { root } from "./tree";

const page = fs.readFileSync(path.join(root, "docs/api.md"), "utf8");
const loaded = loadSync(["muster/v1/membership_service.proto", "muster/v1/maintenance_service.proto"], {
  includeDirs: [path.join(root, "proto")],
  keepCase: true,
});

/** Every call of muster.v1, by its path. */
const paths: readonly string[] = [
  ...Object.values(MembershipServiceService),
  ...Object.values(MaintenanceServiceService),
].map(({ path: call }) => call);

/** Sections that are no calls. */
const COMMON = ["Reads", "Writes", "Repeating"];
const sections = new Map(
  page
    .split(/^### /m)
    .slice(1)
    .map((text): [string, string] => [text.split("\n", 1)[0] ?? "", text.split(/^## /m)[0] ?? ""]),
);

const nameOf = (call: string): string => call.split("/").at(-1) ?? "";
const sectionOf = (call: string): string => sections.get(nameOf(call)) ?? "";
const reasons = Object.keys(ErrorReason).filter((name) => name !== "UNSPECIFIED" && name !== "UNRECOGNIZED");

/** Names in backticks, in the first column of the tables of a text. */
function rowsOf(text: string): string[] {
  return [...text.matchAll(/^\| (`[^|]*`) \|/gm)].flatMap((row) =>
    [...(row[1] ?? "").matchAll(/`(\w+)`/g)].map((name) => name[1] ?? ""),
  );
}

function methodOf(call: string): MethodDefinition<object, object> {
  const [, service = "", method = ""] = call.split("/");
  const found = (loaded[service] as ServiceDefinition)[method];
  if (found === undefined) throw new Error(`proto-loader knows no ${call}`);
  return found;
}

/** The fields of a call's request, or of its answer. */
function fieldsOf(call: string, side: "requestType" | "responseType"): string[] {
  const { field } = methodOf(call)[side].type as { field: { name: string }[] };
  return field.map(({ name }) => name);
}

describe("calls", () => {
  it("all have their section, and no other has one", () => {
    expect([...sections.keys()].sort()).toEqual([...paths.map(nameOf), ...COMMON].sort());
  });

  it.each(paths)("%s lists the fields of its request and names those of its answer", (call) => {
    expect(rowsOf(sectionOf(call)).sort()).toEqual(fieldsOf(call, "requestType").sort());
    const missing = fieldsOf(call, "responseType").filter((name) => !sectionOf(call).includes(`\`${name}\``));
    expect(missing).toEqual([]);
  });

  it.each(paths)("%s has an example that fits", (call) => {
    const example = /```sh\n(grpcurl [\s\S]*?)```/.exec(sectionOf(call))?.[1]?.replaceAll(/ \\\n +/g, " ");
    const parts = /^grpcurl -plaintext (?:-d '(\{.*\})' )?127\.0\.0\.1:7460 (\S+)\n$/.exec(example ?? "");
    expect(parts?.[2]).toBe(call.slice(1));
    const request = JSON.parse(parts?.[1] ?? "{}") as object;
    const fields = fieldsOf(call, "requestType");
    expect(Object.keys(request).filter((key) => !fields.includes(key))).toEqual([]);
  });
});

describe("reasons", () => {
  const rows = new Map(
    [...(page.split("\n## Errors\n")[1] ?? "").matchAll(/^\| `(\w+)` \|(.*)\|$/gm)].map(
      ([, reason = "", rest = ""]) => [reason, rest.split("|").map((cell) => cell.trim())],
    ),
  );

  it("all have their row, and no other has one", () => {
    expect([...rows.keys()].sort()).toEqual([...reasons].sort());
  });

  it("have the status codes that are sent, and every cell", () => {
    const codes = new Map(Object.entries(StatusCode).map(([name, code]) => [code as number, name]));
    const sent = Object.entries(GRPC_STATUS).map(([reason, code]) => [reason, codes.get(code)]);
    expect([...rows].map(([reason, [code]]) => [reason, code]).sort()).toEqual(sent.sort());
    for (const [reason, cells] of rows) {
      expect([reason, cells.length, cells.includes("")]).toEqual([reason, 4, false]);
      expect(["no", "maybe"]).toContain(cells[3]);
    }
  });

  it("are named where a call can be refused with them", () => {
    const body = page.split("\n## Errors\n")[0] ?? "";
    const named = new Set([...body.matchAll(/`([A-Z]+(?:_[A-Z]+)+)`/g)].map((match) => match[1] ?? ""));
    const known = new Set([...reasons, ...Object.keys(StatusCode)]);
    const unknown = [...named].filter(
      (name) => !known.has(name) && !/^(CONSISTENCY|MEMBER_TARGET)_/.test(name),
    );
    expect(unknown).toEqual([]);
    const betweenMembers = [...rows]
      .filter(([, cells]) => cells[1]?.startsWith("between members"))
      .map(([r]) => r);
    const silent = reasons.filter((reason) => !body.includes(`\`${reason}\``));
    expect(silent.sort()).toEqual(betweenMembers.sort());
  });
});
