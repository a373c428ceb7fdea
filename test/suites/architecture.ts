/**
 * Which layer of src may import what, and import cycles: functions over source text, so that architecture.test.ts can
 * show each rule a file that breaks it before it trusts the rule with the real ones.
 *
 * Paths are relative to the repository, with forward slashes. docs/architecture.md explains the layers.
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
  /**
   * What may be imported: a layer, one file of a layer ("rpc/error_details"), a package, "node:" for Node's own
   * modules, or "packages" for any package.
   */
  readonly may: readonly string[];
  /** Layers of which only types may be imported, so that nothing of them is loaded at run time. */
  readonly typesOf?: readonly string[];
  /** Packages that "packages" leaves out. */
  readonly never?: readonly string[];
}

const GRPC = "@grpc/grpc-js";

/** The import table. Every layer may also import itself. */
const LAYERS: Readonly<Record<string, Rule>> = {
  base: { may: ["node:"] },
  raft: { may: [] },
  roster: { may: ["raft", "generated"] },
  storage: { may: ["base", "raft", "generated", "node:"] },
  rpc: { may: ["base", "generated", "packages"] },
  transport: { may: ["base", "raft", "rpc", "generated", "node:", GRPC] },
  replica: { may: ["base", "raft", "roster"], typesOf: ["storage", "transport"] },
  cluster: { may: ["replica", "transport", "rpc", "storage", "roster", "raft", "base", "generated"] },
  backup: { may: ["roster", "raft", "storage", "base", "generated", "node:"] },
  services: {
    may: ["cluster", "backup", "transport", "rpc", "roster", "raft", "base", "generated"],
    typesOf: ["replica"],
  },
  server: {
    may: [
      ...[
        "base",
        "raft",
        "roster",
        "storage",
        "rpc",
        "transport",
        "replica",
        "cluster",
        "backup",
        "services",
      ],
      ...["node:", "pino", "pino-pretty", "yaml", "zod"],
    ],
  },
  gateway: { may: ["base", "rpc", "services", "generated", "node:", "packages"], never: [GRPC] },
  client: { may: ["generated", "rpc/error_details", GRPC] },
  cli: { may: ["client", "generated", "node:", "commander"] },
  generated: { may: ["packages"] },
};

/** The entry points of the process, the only files of the command that know the server. Only they import each other. */
const CLI_ENTRY: Rule = {
  may: [
    ...["cli", "server", "gateway", "backup", "storage", "client", "generated"],
    ...["node:", "commander", "pino", "pino-pretty"],
  ],
};
const CLI_ENTRIES = ["main", "run_server", "run_dev", "offline"].map((name) => `src/cli/${name}.ts`);

/** Files with a rule of their own, in place of their layer's. They may not import their layer unless it says so. */
const FILES: Readonly<Record<string, Rule>> = {
  ...Object.fromEntries(CLI_ENTRIES.map((file) => [file, CLI_ENTRY])),
  // The client shares it, and must load nothing else of the server.
  "src/rpc/error_details.ts": { may: ["generated"] },
};

/** Layers that other layers import through their index only. */
const INDEX_ONLY = ["raft", "roster"];

const parsed = new Map<string, ts.SourceFile>();

/** The syntax tree of a file; kept, because several rules read the same files. */
export function parse(file: string, text: string): ts.SourceFile {
  const known = parsed.get(file);
  if (known?.text === text) return known;
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.ES2022, true);
  parsed.set(file, source);
  return source;
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

function isErasedExport(node: ts.ExportDeclaration): boolean {
  const clause = node.exportClause;
  if (node.isTypeOnly) return true;
  if (clause === undefined || !ts.isNamedExports(clause)) return false;
  return clause.elements.length > 0 && clause.elements.every((e) => e.isTypeOnly);
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
      found.push({ specifier: node.moduleSpecifier.text, typeOnly: isErasedExport(node) });
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

function layerOf(file: string): string {
  return file.split("/")[1] ?? "";
}

function ruleOf(file: string): Rule | undefined {
  return FILES[file] ?? LAYERS[layerOf(file)];
}

/** How messages call the importing file: by its layer, unless it has a rule of its own. */
function nameOf(file: string): string {
  if (CLI_ENTRIES.includes(file)) return "an entry of cli";
  return FILES[file] === undefined ? layerOf(file) : file;
}

function judgeRelative(file: string, target: string, typeOnly: boolean, rule: Rule): string | null {
  const [own, other] = [layerOf(file), layerOf(target)];
  if (CLI_ENTRIES.includes(target) && !CLI_ENTRIES.includes(file))
    return "nothing imports an entry point of the process";
  if (own === other && FILES[file] === undefined) return null;
  const asFile = target.replace(/^src\//, "").replace(/\.ts$/, "");
  if (rule.typesOf?.includes(other) === true) {
    if (!typeOnly) return `${nameOf(file)} may import only types of ${other}`;
  } else if (!rule.may.includes(other) && !rule.may.includes(asFile)) {
    return `${nameOf(file)} may not import ${own === other ? asFile : other}`;
  }
  if (own !== other && INDEX_ONLY.includes(other) && target !== `src/${other}/index.ts`)
    return `${other} is imported through its index only`;
  return null;
}

function judgePackage(file: string, specifier: string, rule: Rule): string | null {
  if (specifier.startsWith("node:"))
    return rule.may.includes("node:") ? null : `${nameOf(file)} may not import ${specifier}`;
  const name = specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");
  const any = rule.may.includes("packages") && rule.never?.includes(name) !== true;
  return any || rule.may.includes(name) ? null : `${nameOf(file)} may not import ${name}`;
}

function judgeImport(
  file: string,
  { specifier, typeOnly }: Import,
  rule: Rule,
  sources: Sources,
): string | null {
  if (!specifier.startsWith(".")) return judgePackage(file, specifier, rule);
  if (/\.(ts|js)$/.test(specifier)) return `${specifier}: relative imports carry no extension`;
  const target = resolve(file, specifier, sources);
  return target === null ? `${specifier}: no such file in src` : judgeRelative(file, target, typeOnly, rule);
}

/** Every import that the table forbids, as `file: why`. */
export function forbiddenImports(sources: Sources): string[] {
  const found: string[] = [];
  for (const [file, text] of sources) {
    const rule = ruleOf(file);
    if (rule === undefined) {
      found.push(`${file}: lies in no layer`);
      continue;
    }
    for (const one of importsOf(file, text)) {
      const problem = judgeImport(file, one, rule, sources);
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
