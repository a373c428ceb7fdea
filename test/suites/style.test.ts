/** The rules of style: each is first shown a file that breaks it, then the repository. */
import type { Sources } from "./architecture";
import { unusedExports } from "./exports";
import { deadReferences, outsideCitations } from "./references";
import { longFunctions, testsLeftOut, tooLong, unprovenTypes, withoutHeader } from "./style";
import { allFiles, pages, read, withoutGenerated, writtenSources } from "./tree";

const written = writtenSources();
const src = new Map([...written].filter(([file]) => file.startsWith("src/")));

describe("every module", () => {
  it("begins by saying what it is", () => {
    expect(withoutHeader(new Map([["a.ts", "import x from 'y';"]]))).toEqual(["a.ts"]);
    expect(withoutHeader(new Map([["a.ts", "#!/usr/bin/env node\n/** Entry. */\n"]]))).toEqual([]);
    expect(withoutHeader(written)).toEqual([]);
  });

  it("has 500 lines at most, 600 outside of src", () => {
    expect(tooLong(new Map([["a.ts", "x\n".repeat(501)]]), 500)).toEqual(["a.ts: 501 lines"]);
    const others = new Map([...written].filter(([file]) => !src.has(file)));
    expect(others.size).toBeGreaterThan(0);
    expect([...tooLong(src, 500), ...tooLong(others, 600)]).toEqual([]);
  });
});

describe("functions", () => {
  const body = (lines: number): string => "  x();\n".repeat(lines);

  it.each([
    ["a function", `function f() {\n${body(69)}}\n`],
    ["an arrow function", `const f = () => {\n${body(69)}};\n`],
    ["a callback", `on(function () {\n${body(69)}});\n`],
    ["a method", `class A { f() {\n${body(69)}} }\n`],
    ["a constructor", `class A { constructor() {\n${body(69)}} }\n`],
    ["an accessor", `class A { get f() {\n${body(69)}} }\n`],
    ["a method of an object", `const a = { f() {\n${body(69)}} };\n`],
  ])("%s of 71 lines is too long", (_, text) => {
    expect(longFunctions(new Map([["a.ts", text]]), 70)).toEqual(["a.ts:1: a function of 71 lines"]);
  });

  it("have 70 lines at most; a group of tests is no function", () => {
    const good = `function f() {\n${body(68)}}\ndescribe("f", () => {\n${body(100)}});\n`;
    expect(longFunctions(new Map([["a.test.ts", good]]), 70)).toEqual([]);
    expect(longFunctions(written, 70)).toEqual([]);
  });
});

describe("types", () => {
  it("have no `any`, and no `!` without a comment that proves it", () => {
    const bad =
      "const a: any = 1;\n\nconst b = list[0]!;\n\n// The list has one element.\nconst c = list[0]!;\n";
    expect(unprovenTypes(new Map([["a.ts", bad]]))).toEqual([
      "a.ts:1: any",
      "a.ts:3: `!` without a comment that proves it",
    ]);
    expect(unprovenTypes(src)).toEqual([]);
  });
});

describe("exports", () => {
  const entry = "src/client/index.ts";
  const unused = (...files: [string, string][]): readonly string[] =>
    unusedExports(new Map([...files, [entry, ""]]), [entry]).unused;

  it.each([
    ["a function", "export function f() {}", "f"],
    ["a constant", "export const f = 1;", "f"],
    ["a destructured constant", "export const { f } = g;", "f"],
    ["a class", "export class F {}", "F"],
    ["an interface", "export interface F { readonly a: 1 }", "F"],
    ["a type that only its own file uses", "export type F = 1; const f: F = 1;", "F"],
    ["an export at the end of the file", "const f = 1; export { f };", "f"],
  ])("%s that nobody imports is found", (_, text, name) => {
    expect(unused(["src/a.ts", text])).toEqual([`src/a.ts: ${name}`]);
  });

  it.each([
    ["a named import", 'import { f as g } from "./a";'],
    ["the type of it", 'import { type f } from "./a";'],
    ["a namespace's member", 'import * as a from "./a"; a.f();'],
    ["a namespace as a value", 'import * as a from "./a"; g(a);'],
    ["an import type", 'let f: import("./a").f;'],
    ["require", 'const { f } = require("./a");'],
  ])("%s is a use", (_, text) => {
    expect(unused(["src/a.ts", "export function f() {}"], ["src/b.ts", text])).toEqual([]);
  });

  it("a name that is passed on is used when somebody imports it there", () => {
    const there: [string, string] = ["src/a.ts", "export const f = 1; export const g = 2;"];
    expect(
      unused(there, ["src/index.ts", 'export * from "./a";'], ["src/b.ts", 'import { f } from "./index";']),
    ).toEqual(["src/a.ts: g"]);
    expect(
      unused(
        there,
        ["src/index.ts", 'export { f as h, g } from "./a";'],
        ["src/b.ts", 'import { h } from "./index";'],
      ),
    ).toEqual(["src/a.ts: g", "src/index.ts: g"]);
    const sources: Sources = new Map([there, [entry, 'export { f } from "../a";']]);
    expect(unusedExports(sources, [entry]).unused).toEqual(["src/a.ts: g"]);
  });

  it("one that only tests import is told apart", () => {
    const sources: Sources = new Map([
      ["src/a.ts", "export const f = 1; export const g = 2;"],
      ["src/b.ts", 'import { g } from "./a";'],
      ["test/a.test.ts", 'import { f, g } from "../src/a";'],
    ]);
    expect(unusedExports(sources, [])).toEqual({ unused: [], testsOnly: ["src/a.ts: f"] });
  });

  it("of src all have a user", () => {
    const { unused: found, testsOnly } = unusedExports(new Map([...written, ...read("src")]), [
      "src/client/index.ts",
      "src/server/index.ts",
    ]);
    console.log(`${testsOnly.length} exports of src are used by tests only`);
    expect(found).toEqual([]);
  });
});

describe("references to files", () => {
  const files = new Set(["src/raft/log.ts", "docs/adr/README.md", "test/raft/log.test.ts", "README.md"]);
  const dead = (file: string, text: string): string[] => deadReferences(new Map([[file, text]]), files);

  it.each([
    ["a.ts", "/** See src/raft/gone.ts. */", "a.ts:1: src/raft/gone.ts"],
    ["a.ts", "/**\n * See\n * `gone.test.ts`.\n */", "a.ts:3: gone.test.ts"],
    ["a.ts", "let a = 1; // as docs/gone says", "a.ts:1: docs/gone"],
    ["a.ts", "f(/* raft/gone.ts */ 1);", "a.ts:1: raft/gone.ts"],
    ["a.ts", "const a = `${b}`; // gone.md: why", "a.ts:1: gone.md"],
    ["docs/a.md", "One.\n\nSee [there](../src/gone.ts#L3).", "docs/a.md:3: src/gone.ts"],
    ["docs/a.md", "`test/raft/gone.test.ts` holds it", "docs/a.md:1: test/raft/gone.test.ts"],
  ])("in %s: %j", (file, text, problem) => {
    expect(dead(file, text)).toEqual([problem]);
  });

  it.each([
    ["a.ts", "/** src/raft/log.ts, `log.ts:12`, raft/log.ts, docs/adr/, log.test.ts, test/raft. */"],
    ["a.ts", 'const path = "src/gone.ts";'],
    ["a.ts", "// Node.js, src/*.ts, test/<layer>, FILE.ts, https://a.org/gone.ts, dist/cli/main.js, and/or"],
    ["docs/a.md", "[one](adr/README.md), [two](../README.md#top)"],
  ])("in %s none is wrong: %j", (file, text) => {
    expect(dead(file, text)).toEqual([]);
  });

  it("all lead to a file", () => {
    expect(deadReferences(new Map([...written, ...pages()]), allFiles())).toEqual([]);
  });
});

describe("citations", () => {
  it("name no page outside the repository", () => {
    const bad = '/** Margins: SPEC section 2. */\nconst text = "SPEC";\n// See\n// DESIGN.md.\n';
    expect(outsideCitations(new Map([["a.ts", bad]]))).toEqual([
      "a.ts:1: Margins: SPEC section 2. */",
      "a.ts:4: DESIGN.md.",
    ]);
    expect(outsideCitations(new Map([...written, ...pages()]))).toEqual([]);
  });
});

describe("tests", () => {
  it("none is left out", () => {
    const bad = "it.only('a', f);\nxit('b', f);\ndescribe.skip('c', f);\nit('d', f);\n";
    expect(testsLeftOut(new Map([["a.test.ts", bad]]))).toEqual([
      "a.test.ts:1: it.only",
      "a.test.ts:2: xit",
      "a.test.ts:3: describe.skip",
    ]);
    expect(testsLeftOut(withoutGenerated(read("test")))).toEqual([]);
  });
});
