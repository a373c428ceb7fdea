/**
 * The architecture as a test: each rule of architecture.ts is first shown a file that breaks it, then the repository.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { forbiddenImports, importCycles, importsOf, type Sources } from "./architecture";
import { impurities } from "./style";
import { read, root } from "./tree";

const src = read("src");

/** A few files that keep every rule; a test adds one that does not. */
const GOOD: readonly (readonly [string, string])[] = [
  ["src/base/clock.ts", 'import { performance } from "node:perf_hooks";'],
  ["src/raft/index.ts", 'export * from "./types";'],
  ["src/raft/types.ts", ""],
  ["src/roster/index.ts", 'export * from "./roster";'],
  ["src/roster/roster.ts", 'import { Entry } from "../raft";'],
  ["src/generated/m.ts", 'import { BinaryReader } from "@bufbuild/protobuf/wire";'],
  ["src/storage/wal.ts", 'import * as fs from "node:fs"; import { systemClock } from "../base/clock";'],
  ["src/rpc/error_details.ts", 'import { Status } from "../generated/m";'],
  ["src/rpc/serve.ts", 'import { Server } from "@grpc/grpc-js"; import "./error_details";'],
  ["src/transport/peer.ts", 'import { Client } from "@grpc/grpc-js"; import "../rpc/serve";'],
  [
    "src/replica/replica.ts",
    'import type { Wal } from "../storage/wal"; import { Roster } from "../roster";',
  ],
  ["src/cluster/writes.ts", 'import { Replica } from "../replica/replica"; import "../storage/wal";'],
  ["src/backup/save.ts", 'import "../storage/wal"; import { writeFile } from "node:fs/promises";'],
  ["src/services/membership.ts", 'import type { R } from "../replica/replica"; import "../cluster/writes";'],
  ["src/server/server.ts", 'import pino from "pino"; import "../services/membership"; import "node:os";'],
  ["src/gateway/http.ts", 'import { parse } from "yaml"; import "../services/membership";'],
  ["src/client/index.ts", 'import { Client } from "@grpc/grpc-js"; import "../rpc/error_details";'],
  ["src/cli/member.ts", 'import { MusterClient } from "../client"; import { Command } from "commander";'],
  ["src/cli/run_server.ts", 'import { startServer } from "../server/server"; import "./member";'],
  ["src/cli/main.ts", 'import { runServer } from "./run_server"; import "../backup/save";'],
];
const goodWith = (file: string, text: string): Sources => new Map([...GOOD, [file, text]]);

describe("who may import whom", () => {
  it("accepts files that keep the table", () => {
    expect(forbiddenImports(new Map(GOOD))).toEqual([]);
  });

  it.each([
    ["src/base/log.ts", 'import pino from "pino";', "base may not import pino"],
    ["src/base/log.ts", 'import { Entry } from "../raft";', "base may not import raft"],
    ["src/raft/log.ts", 'import * as fs from "node:fs";', "raft may not import node:fs"],
    ["src/raft/log.ts", 'import type { Pool } from "pino";', "raft may not import pino"],
    ["src/raft/log.ts", 'import { Member } from "../generated/m";', "raft may not import generated"],
    ["src/raft/log.ts", 'import type { Clock } from "../base/clock";', "raft may not import base"],
    ["src/roster/ids.ts", 'import { createHash } from "node:crypto";', "roster may not import node:crypto"],
    [
      "src/roster/ids.ts",
      'import { Entry } from "../raft/types";',
      "raft is imported through its index only",
    ],
    ["src/storage/log.ts", 'import type { Roster } from "../roster";', "storage may not import roster"],
    [
      "src/storage/log.ts",
      'import { credentials } from "@grpc/grpc-js";',
      "storage may not import @grpc/grpc-js",
    ],
    ["src/rpc/json.ts", 'import { Entry } from "../raft";', "rpc may not import raft"],
    ["src/rpc/json.ts", 'import "../transport/peer";', "rpc may not import transport"],
    ["src/rpc/error_details.ts", 'import "../base/clock";', "src/rpc/error_details.ts may not import base"],
    ["src/rpc/error_details.ts", 'import "./serve";', "src/rpc/error_details.ts may not import rpc/serve"],
    [
      "src/transport/wire.ts",
      'import type { R } from "../replica/replica";',
      "transport may not import replica",
    ],
    ["src/transport/wire.ts", 'import pino from "pino";', "transport may not import pino"],
    [
      "src/replica/apply.ts",
      'import { Wal } from "../storage/wal";',
      "replica may import only types of storage",
    ],
    [
      "src/replica/apply.ts",
      'export { a } from "../transport/peer";',
      "replica may import only types of transport",
    ],
    ["src/replica/apply.ts", 'import { Member } from "../generated/m";', "replica may not import generated"],
    ["src/replica/apply.ts", 'import type { W } from "../cluster/writes";', "replica may not import cluster"],
    ["src/cluster/reads.ts", 'import type { S } from "../server/server";', "cluster may not import server"],
    [
      "src/cluster/reads.ts",
      'import { status } from "@grpc/grpc-js";',
      "cluster may not import @grpc/grpc-js",
    ],
    [
      "src/cluster/reads.ts",
      'import type { M } from "../roster/roster";',
      "roster is imported through its index only",
    ],
    ["src/backup/rescue.ts", 'import "../transport/peer";', "backup may not import transport"],
    [
      "src/services/health.ts",
      'import { R } from "../replica/replica";',
      "services may import only types of replica",
    ],
    ["src/services/health.ts", 'import "../storage/wal";', "services may not import storage"],
    ["src/server/late.ts", 'import { status } from "@grpc/grpc-js";', "server may not import @grpc/grpc-js"],
    ["src/server/late.ts", 'import { Member } from "../generated/m";', "server may not import generated"],
    ["src/server/late.ts", 'type Run = typeof import("../client/index");', "server may not import client"],
    [
      "src/server/late.ts",
      'const run = require("../cli/main");',
      "nothing imports an entry point of the process",
    ],
    ["src/server/late.ts", 'import { a } from "./nowhere";', "./nowhere: no such file in src"],
    ["src/server/late.ts", 'import "./server.js";', "./server.js: relative imports carry no extension"],
    [
      "src/gateway/page.ts",
      'import { status } from "@grpc/grpc-js";',
      "gateway may not import @grpc/grpc-js",
    ],
    ["src/gateway/page.ts", 'import "../cluster/writes";', "gateway may not import cluster"],
    ["src/client/retry.ts", 'export * from "../server/server";', "client may not import server"],
    ["src/client/retry.ts", 'import type { S } from "../rpc/serve";', "client may not import rpc"],
    ["src/client/retry.ts", 'const load = () => import("pino");', "client may not import pino"],
    ["src/cli/cluster.ts", 'import { startServer } from "../server/server";', "cli may not import server"],
    ["src/cli/cluster.ts", 'import "../backup/save";', "cli may not import backup"],
    ["src/cli/cluster.ts", 'import { main } from "./main";', "nothing imports an entry point of the process"],
    ["src/cli/offline.ts", 'import "../cluster/writes";', "an entry of cli may not import cluster"],
    ["src/generated/n.ts", 'import "../base/clock";', "generated may not import base"],
    ["src/helpers.ts", "", "lies in no layer"],
  ])("refuses %s with %s", (file, text, why) => {
    expect(forbiddenImports(goodWith(file, text))).toEqual([`${file}: ${why}`]);
  });

  it("holds in src", () => {
    expect(src.size).toBeGreaterThan(0);
    expect(forbiddenImports(src)).toEqual([]);
  });
});

describe("import cycles", () => {
  it("are found, unless the compiler erases them", () => {
    const there = ["src/raft/a.ts", 'import { b } from "./b";'] as const;
    const back = (text: string): Sources => new Map([there, ["src/raft/b.ts", text]]);
    expect(importCycles(back('import { a } from "./a";'))).toEqual([
      "src/raft/a.ts -> src/raft/b.ts -> src/raft/a.ts",
    ]);
    expect(importCycles(back('export { a } from "./a";'))).toHaveLength(1);
    expect(importCycles(back('import { type A } from "./a";'))).toEqual([]);
    expect(importCycles(back('import type { A } from "./a";'))).toEqual([]);
  });

  it("do not exist in src", () => {
    expect(importCycles(src)).toEqual([]);
  });
});

describe("the pure core", () => {
  it("is compiled without Node's types", () => {
    const config = JSON.parse(fs.readFileSync(path.join(root, "src/raft/tsconfig.json"), "utf8")) as {
      compilerOptions: { types?: string[]; lib?: string[] };
    };
    expect(config.compilerOptions.types).toEqual([]);
    // The DOM's library would bring timers and fetch back in.
    expect(config.compilerOptions.lib?.every((name) => /^es\d+$/.test(name))).toBe(true);
  });

  it.each([
    ["const now = Date.now();", "Date"],
    ["const now = new Date();", "Date"],
    ["const roll = Math.random();", "Math.random"],
    ["process.exit(1);", "process"],
    ["setTimeout(tick, 1);", "setTimeout"],
    ["const later = async () => 1;", "asynchrony"],
    ["console.log(1);", "console"],
  ])("%s is not pure: %s", (text, why) => {
    expect(impurities(new Map([["a.ts", text]]))).toEqual([`a.ts:1: ${why}`]);
  });

  it.each([
    "new Date(timeMs).toISOString();",
    "this.async = config.process;",
    "Math.max(1, 2); // Date.now()",
  ])("%s is pure", (text) => {
    expect(impurities(new Map([["a.ts", text]]))).toEqual([]);
  });

  it("and the roster read no clock, chance or process", () => {
    const pure = new Map([...src].filter(([file]) => /^src\/(raft|roster)\//.test(file)));
    expect(pure.size).toBeGreaterThan(0);
    expect(impurities(pure)).toEqual([]);
  });
});

describe("the import scanner", () => {
  it("sees every form of import", () => {
    const text = `
      import "a";
      import b, { type B } from "b";
      import type { C } from "c";
      export { d } from "d";
      const e = require("e");
      const f = await import("f");
      type G = import("g").G;
      const h = require(name);
    `;
    expect(importsOf("x.ts", text).map(({ specifier, typeOnly }) => `${specifier} ${typeOnly}`)).toEqual([
      "a false",
      "b false",
      "c true",
      "d false",
      "e false",
      "f false",
      "g true",
      "(computed) false",
    ]);
  });
});
