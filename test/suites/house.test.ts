/**
 * The architecture as a test: each rule of house.ts is first shown a file that breaks it, then the repository.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import {
  forbiddenImports,
  importCycles,
  importsOf,
  impurities,
  type Sources,
  testsLeftOut,
  tooLong,
  unprovenTypes,
  withoutHeader,
} from "./house";

const root = path.resolve(__dirname, "../..");

/** Every file below a folder that ends in one of `endings`. */
function read(folder: string, endings: readonly string[] = [".ts"]): Map<string, string> {
  const found = new Map<string, string>();
  if (!fs.existsSync(path.join(root, folder))) return found;
  for (const name of fs.readdirSync(path.join(root, folder), { recursive: true, encoding: "utf8" }).sort()) {
    const file = `${folder}/${name.split(path.sep).join("/")}`;
    if (endings.some((ending) => file.endsWith(ending)))
      found.set(file, fs.readFileSync(path.join(root, file), "utf8"));
  }
  return found;
}

function withoutGenerated(sources: Sources): Map<string, string> {
  return new Map([...sources].filter(([file]) => !file.startsWith("src/generated/")));
}

const src = read("src");
const written = new Map([
  ...withoutGenerated(src),
  ...read("test", [".ts", ".js"]),
  ...read("bench"),
  ...read("scripts", [".js"]),
]);

/** A small house in order; a test adds one file that is not. */
const HOUSE: readonly (readonly [string, string])[] = [
  ["src/raft/index.ts", 'export * from "./types";'],
  ["src/raft/types.ts", ""],
  ["src/roster/roster.ts", 'import { Entry } from "../raft";'],
  ["src/generated/m.ts", 'import { BinaryReader } from "@bufbuild/protobuf/wire";'],
  ["src/server/server.ts", 'import pino from "pino"; import { Roster } from "../roster/roster";'],
  ["src/client/index.ts", 'import { Client } from "@grpc/grpc-js";'],
  ["src/cli/member.ts", 'import { MusterClient } from "../client"; import { Command } from "commander";'],
  ["src/cli/run_server.ts", 'import { startServer } from "../server/server";'],
  ["src/cli/main.ts", 'import { runServer } from "./run_server";'],
];
const houseWith = (file: string, text: string): Sources => new Map([...HOUSE, [file, text]]);

describe("who may import whom", () => {
  it("accepts a house in order", () => {
    expect(forbiddenImports(new Map(HOUSE))).toEqual([]);
  });

  it.each([
    ["src/raft/log.ts", 'import * as fs from "node:fs";', "raft may not import node:fs"],
    ["src/raft/log.ts", 'import type { Pool } from "pino";', "raft may not import pino"],
    ["src/raft/log.ts", 'import { Member } from "../generated/m";', "raft may not import generated"],
    ["src/roster/ids.ts", 'import { createHash } from "node:crypto";', "roster may not import node:crypto"],
    ["src/roster/ids.ts", 'import { Entry } from "../raft/types";', "raft is imported by its index only"],
    [
      "src/storage/wal.ts",
      'import type { Roster } from "../roster/roster";',
      "storage may not import roster",
    ],
    ["src/client/retry.ts", 'export * from "../server/server";', "client may not import server"],
    ["src/client/retry.ts", 'const load = () => import("pino");', "client may not import pino"],
    ["src/cli/cluster.ts", 'import { startServer } from "../server/server";', "cli may not import server"],
    ["src/cli/cluster.ts", 'import { main } from "./main";', "nothing imports an entry point of the process"],
    [
      "src/server/late.ts",
      'const run = require("../cli/main");',
      "nothing imports an entry point of the process",
    ],
    ["src/server/late.ts", 'type Run = typeof import("../client/index");', "server may not import client"],
    ["src/server/late.ts", 'import { a } from "./nowhere";', "./nowhere: no such file in src"],
    [
      "src/server/late.ts",
      'import { a } from "./server.js";',
      "./server.js: relative imports carry no extension",
    ],
    ["src/helpers.ts", "", "lies in no room"],
  ])("refuses %s with %s", (file, text, why) => {
    expect(forbiddenImports(houseWith(file, text))).toEqual([`${file}: ${why}`]);
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

describe("style", () => {
  it("every module begins by saying what it is", () => {
    expect(withoutHeader(new Map([["a.ts", "import x from 'y';"]]))).toEqual(["a.ts"]);
    expect(withoutHeader(new Map([["a.ts", "#!/usr/bin/env node\n/** Entry. */\n"]]))).toEqual([]);
    expect(withoutHeader(written)).toEqual([]);
  });

  it("no file has more than 600 lines", () => {
    expect(tooLong(new Map([["a.ts", "x\n".repeat(601)]]), 600)).toEqual(["a.ts: 601 lines"]);
    expect(tooLong(written, 600)).toEqual([]);
  });

  it("no `any`, and no `!` without a comment that proves it", () => {
    const bad =
      "const a: any = 1;\n\nconst b = list[0]!;\n\n// The list has one element.\nconst c = list[0]!;\n";
    expect(unprovenTypes(new Map([["a.ts", bad]]))).toEqual([
      "a.ts:1: any",
      "a.ts:3: `!` without a comment that proves it",
    ]);
    expect(unprovenTypes(withoutGenerated(src))).toEqual([]);
  });

  it("no test is left out", () => {
    const bad = "it.only('a', f);\nxit('b', f);\ndescribe.skip('c', f);\nit('d', f);\n";
    expect(testsLeftOut(new Map([["a.test.ts", bad]]))).toEqual([
      "a.test.ts:1: it.only",
      "a.test.ts:2: xit",
      "a.test.ts:3: describe.skip",
    ]);
    expect(testsLeftOut(read("test"))).toEqual([]);
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
