/**
 * The rules of the house as functions over source text: who may import whom, cycles, headers, lengths. Pure, so that
 * house.test.ts can show each rule a file that breaks it before it trusts the rule with the real ones.
 *
 * Paths are relative to the repository, with forward slashes. Source: the import table of docs/architecture.md.
 */
import * as path from "node:path";
import * as ts from "typescript";

/** Path -> source text. */
export type Sources = ReadonlyMap<string, string>;

/** One `import`, `export ... from`, `import()`, `import("x")` type or `require()`. */
export interface Import {
  readonly specifier: string;
  /** Whether the compiler erases it, so that it does not exist at run time. */
  readonly typeOnly: boolean;
}

interface Rule {
  /** Other rooms that it may import. */
  readonly rooms: readonly string[];
  /** Whether it may import Node's own modules. */
  readonly node: boolean;
  /** Packages that it may import; "all": any. */
  readonly packages: readonly string[] | "all";
}

const GRPC = "@grpc/grpc-js";

/** The import table. Every room may import itself. */
const RULES: Readonly<Record<string, Rule>> = {
  raft: { rooms: [], node: false, packages: [] },
  base: { rooms: [], node: true, packages: [] },
  roster: { rooms: ["raft", "generated"], node: false, packages: [] },
  storage: { rooms: ["base", "raft", "generated"], node: true, packages: [] },
  transport: { rooms: ["base", "raft", "generated"], node: true, packages: [GRPC] },
  server: {
    rooms: ["base", "raft", "roster", "storage", "transport", "generated"],
    node: true,
    packages: "all",
  },
  client: { rooms: ["generated"], node: false, packages: [GRPC] },
  gateway: { rooms: ["client", "generated"], node: true, packages: [] },
  cli: { rooms: ["client", "generated"], node: true, packages: ["commander"] },
  "cli entry": {
    rooms: ["server", "gateway", "storage", "client", "generated"],
    node: true,
    packages: ["commander", "pino", "pino-pretty"],
  },
  generated: { rooms: [], node: false, packages: "all" },
};

/** Entry points of the process: the only files of the command that know the server, and that nothing else knows. */
const CLI_ENTRIES = new Set(["main", "run_server", "run_dev", "offline"].map((name) => `src/cli/${name}.ts`));

function parse(file: string, text: string): ts.SourceFile {
  return ts.createSourceFile(file, text, ts.ScriptTarget.ES2022, true);
}

function isErasedImport(node: ts.ImportDeclaration): boolean {
  const clause = node.importClause;
  if (clause === undefined) return false;
  if (clause.phaseModifier === ts.SyntaxKind.TypeKeyword) return true;
  if (clause.name !== undefined || clause.namedBindings === undefined) return false;
  const bindings = clause.namedBindings;
  return (
    ts.isNamedImports(bindings) &&
    bindings.elements.length > 0 &&
    bindings.elements.every((e) => e.isTypeOnly)
  );
}

function calledModule(node: ts.CallExpression): string | null {
  const isImport = node.expression.kind === ts.SyntaxKind.ImportKeyword;
  const isRequire = ts.isIdentifier(node.expression) && node.expression.text === "require";
  const [argument] = node.arguments;
  if (!(isImport || isRequire) || argument === undefined) return null;
  return ts.isStringLiteralLike(argument) ? argument.text : "(computed)";
}

/** Every import of one file, in order. */
export function importsOf(file: string, text: string): Import[] {
  const found: Import[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
      found.push({ specifier: node.moduleSpecifier.text, typeOnly: isErasedImport(node) });
    } else if (
      ts.isExportDeclaration(node) &&
      node.moduleSpecifier &&
      ts.isStringLiteral(node.moduleSpecifier)
    ) {
      found.push({ specifier: node.moduleSpecifier.text, typeOnly: node.isTypeOnly });
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      if (ts.isStringLiteral(node.argument.literal))
        found.push({ specifier: node.argument.literal.text, typeOnly: true });
    } else if (ts.isCallExpression(node)) {
      const specifier = calledModule(node);
      if (specifier !== null) found.push({ specifier, typeOnly: false });
    }
    ts.forEachChild(node, visit);
  };
  visit(parse(file, text));
  return found;
}

/** The file that a relative import means, or null when there is none. */
export function resolve(from: string, specifier: string, sources: Sources): string | null {
  const base = path.posix.normalize(path.posix.join(path.posix.dirname(from), specifier));
  return [`${base}.ts`, `${base}/index.ts`].find((candidate) => sources.has(candidate)) ?? null;
}

function roomOf(file: string): string {
  return file.split("/")[1] ?? "";
}

function ruleName(file: string): string {
  return CLI_ENTRIES.has(file) ? "cli entry" : roomOf(file);
}

function judgeRelative(file: string, target: string, rule: Rule): string | null {
  const [own, other] = [roomOf(file), roomOf(target)];
  if (CLI_ENTRIES.has(target) && !CLI_ENTRIES.has(file))
    return "nothing imports an entry point of the process";
  if (own === other) return null;
  if (!rule.rooms.includes(other)) return `${ruleName(file)} may not import ${other}`;
  if (other === "raft" && target !== "src/raft/index.ts") return "raft is imported by its index only";
  return null;
}

function judgeImport(file: string, specifier: string, sources: Sources): string | null {
  const rule = RULES[ruleName(file)];
  if (rule === undefined) return "lies in no room";
  if (specifier.startsWith(".")) {
    if (/\.(ts|js)$/.test(specifier)) return `${specifier}: relative imports carry no extension`;
    const target = resolve(file, specifier, sources);
    return target === null ? `${specifier}: no such file in src` : judgeRelative(file, target, rule);
  }
  if (specifier.startsWith("node:"))
    return rule.node ? null : `${ruleName(file)} may not import ${specifier}`;
  const name = specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");
  return rule.packages === "all" || rule.packages.includes(name)
    ? null
    : `${ruleName(file)} may not import ${name}`;
}

/** Every import that the table forbids, as `file: why`. */
export function forbiddenImports(sources: Sources): string[] {
  const found: string[] = [];
  for (const [file, text] of sources) {
    if (RULES[ruleName(file)] === undefined) found.push(`${file}: lies in no room`);
    for (const { specifier } of importsOf(file, text)) {
      const problem = judgeImport(file, specifier, sources);
      if (problem !== null) found.push(`${file}: ${problem}`);
    }
  }
  return found;
}

/**
 * Cycles of imports that exist at run time, each as the files along it. Erased imports don't count: a concern may name
 * the type of the state it works on. Depth-first; one cycle per back edge.
 */
export function importCycles(sources: Sources): string[] {
  const done = new Set<string>();
  const trail: string[] = [];
  const found: string[] = [];
  const visit = (file: string): void => {
    if (done.has(file)) return;
    const at = trail.indexOf(file);
    if (at !== -1) {
      found.push([...trail.slice(at), file].join(" -> "));
      return;
    }
    trail.push(file);
    for (const { specifier, typeOnly } of importsOf(file, sources.get(file) ?? "")) {
      const target = typeOnly || !specifier.startsWith(".") ? null : resolve(file, specifier, sources);
      if (target !== null) visit(target);
    }
    trail.pop();
    done.add(file);
  };
  for (const file of sources.keys()) visit(file);
  return found;
}

/** Files that do not begin by saying what they are. */
export function withoutHeader(sources: Sources): string[] {
  return [...sources].filter(([, text]) => !/^(#![^\n]*\n)?\/\*\*/.test(text)).map(([file]) => file);
}

/** Files of more than `linesMax` lines. */
export function tooLong(sources: Sources, linesMax: number): string[] {
  return [...sources]
    .map(([file, text]) => ({ file, lines: text.trimEnd().split("\n").length }))
    .filter(({ lines }) => lines > linesMax)
    .map(({ file, lines }) => `${file}: ${lines} lines`);
}

function walk(
  file: string,
  text: string,
  judge: (node: ts.Node, lines: string[], line: number) => string | null,
): string[] {
  const source = parse(file, text);
  const lines = text.split("\n");
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    const { line } = source.getLineAndCharacterOfPosition(node.getStart(source));
    const problem = judge(node, lines, line);
    if (problem !== null) found.push(`${file}:${line + 1}: ${problem}`);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

const HAS_COMMENT = /\/\/|\*\//;

/** Every `value!` without a comment on its line or the line before, and every `any`. */
export function unprovenTypes(sources: Sources): string[] {
  return [...sources].flatMap(([file, text]) =>
    walk(file, text, (node, lines, line) => {
      if (node.kind === ts.SyntaxKind.AnyKeyword) return "any";
      if (!ts.isNonNullExpression(node)) return null;
      const end = node.getSourceFile().getLineAndCharacterOfPosition(node.getEnd()).line;
      const near = lines.slice(Math.max(0, line - 1), end + 1).join("\n");
      return HAS_COMMENT.test(near) ? null : "`!` without a comment that proves it";
    }),
  );
}

const IMPURE_NAMES = new Set(
  (
    "process console performance crypto fetch global globalThis Promise queueMicrotask " +
    "setTimeout setInterval setImmediate"
  ).split(" "),
);

/** Whether an identifier stands for a value, not for a property, member or label of that name. */
function isReference(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent)) return parent.expression === node;
  return !(ts.isPropertyAssignment(parent) || ts.isClassElement(parent) || ts.isTypeElement(parent));
}

/** Clocks, chance, effects and asynchrony. A Date made from a given time is only a way to print it. */
export function impurities(sources: Sources): string[] {
  return [...sources].flatMap(([file, text]) =>
    walk(file, text, (node) => {
      if (ts.isAwaitExpression(node) || node.kind === ts.SyntaxKind.AsyncKeyword) return "asynchrony";
      if (!ts.isIdentifier(node) || !isReference(node)) return null;
      if (IMPURE_NAMES.has(node.text)) return node.text;
      const { parent } = node;
      if (node.text === "Date") {
        const given = ts.isNewExpression(parent) && (parent.arguments?.length ?? 0) > 0;
        return given ? null : "Date";
      }
      const random =
        node.text === "Math" && ts.isPropertyAccessExpression(parent) && parent.name.text === "random";
      return random ? "Math.random" : null;
    }),
  );
}

const LEFT_OUT = new Set(["skip", "only", "todo", "failing"]);
const LEFT_OUT_CALLS = new Set(["xit", "xtest", "xdescribe", "fit", "fdescribe"]);

/** Tests that are skipped or that silence all others. */
export function testsLeftOut(sources: Sources): string[] {
  return [...sources].flatMap(([file, text]) =>
    walk(file, text, (node) => {
      if (ts.isCallExpression(node) && ts.isIdentifier(node.expression)) {
        return LEFT_OUT_CALLS.has(node.expression.text) ? node.expression.text : null;
      }
      if (!ts.isPropertyAccessExpression(node) || !LEFT_OUT.has(node.name.text)) return null;
      const object = node.expression;
      const runner = ts.isIdentifier(object) && ["it", "test", "describe"].includes(object.text);
      return runner ? `${object.text}.${node.name.text}` : null;
    }),
  );
}
