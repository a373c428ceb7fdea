/**
 * Which exports of src nobody imports. Works on names: it reads imports and re-exports, not types.
 *
 * A name that another file imports is used, also through files that only pass it on (`export ... from`). Whatever a
 * public entry point exports is used by definition.
 */
import * as ts from "typescript";
import { parse, resolve, type Sources } from "./architecture";

/** A name of a module. "*" stands for every name. */
interface Name {
  readonly file: string;
  readonly name: string;
}

/** A name that a file exports for another: under which name, and what it is there. */
interface PassedOn {
  readonly as: string;
  readonly from: Name;
}

interface Module {
  /** Names that the file declares and exports. */
  readonly declared: string[];
  readonly passedOn: PassedOn[];
  readonly imported: Name[];
}

const ALL = "*";

function isExported(node: ts.Statement): boolean {
  return (
    ts.canHaveModifiers(node) &&
    ts.getModifiers(node)?.some((m) => m.kind === ts.SyntaxKind.ExportKeyword) === true
  );
}

function namesOfBinding(name: ts.BindingName): string[] {
  if (ts.isIdentifier(name)) return [name.text];
  return name.elements.flatMap((element) =>
    ts.isBindingElement(element) ? namesOfBinding(element.name) : [],
  );
}

function declaredNames(statement: ts.Statement): string[] {
  if (ts.isVariableStatement(statement))
    return statement.declarationList.declarations.flatMap((declaration) => namesOfBinding(declaration.name));
  const { name } = statement as { name?: ts.Identifier };
  return name === undefined ? [] : [name.text];
}

/** The members of a namespace import that the file names, or all when it uses the namespace as a value. */
function namespaceUses(source: ts.SourceFile, alias: string): string[] {
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isIdentifier(node) && node.text === alias && !ts.isNamespaceImport(node.parent)) {
      const { parent } = node;
      if (ts.isPropertyAccessExpression(parent) && parent.expression === node) found.push(parent.name.text);
      else if (ts.isQualifiedName(parent) && parent.left === node) found.push(parent.right.text);
      else if (!(ts.isPropertyAccessExpression(parent) || ts.isQualifiedName(parent))) found.push(ALL);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

function importedNames(source: ts.SourceFile, node: ts.ImportDeclaration): string[] {
  const clause = node.importClause;
  if (clause === undefined) return [];
  const names = clause.name === undefined ? [] : ["default"];
  const bindings = clause.namedBindings;
  if (bindings === undefined) return names;
  if (ts.isNamespaceImport(bindings)) return [...names, ...namespaceUses(source, bindings.name.text)];
  return [...names, ...bindings.elements.map((element) => (element.propertyName ?? element.name).text)];
}

/** `import("./a").Name` as a type, `import("./a")` and `require("./a")` as a value. */
function looseImport(node: ts.Node): { readonly specifier: string; readonly name: string } | null {
  if (
    ts.isImportTypeNode(node) &&
    ts.isLiteralTypeNode(node.argument) &&
    ts.isStringLiteral(node.argument.literal)
  ) {
    const { qualifier } = node;
    const name = qualifier !== undefined && ts.isIdentifier(qualifier) ? qualifier.text : ALL;
    return { specifier: node.argument.literal.text, name };
  }
  if (!ts.isCallExpression(node)) return null;
  const isRequire = ts.isIdentifier(node.expression) && node.expression.text === "require";
  const [argument] = node.arguments;
  if (!(isRequire || node.expression.kind === ts.SyntaxKind.ImportKeyword)) return null;
  return argument !== undefined && ts.isStringLiteralLike(argument)
    ? { specifier: argument.text, name: ALL }
    : null;
}

function addReExport(node: ts.ExportDeclaration, to: string | null, module: Module): void {
  const { exportClause } = node;
  if (exportClause === undefined) {
    if (to !== null) module.passedOn.push({ as: ALL, from: { file: to, name: ALL } });
  } else if (ts.isNamespaceExport(exportClause)) {
    if (to !== null) module.passedOn.push({ as: exportClause.name.text, from: { file: to, name: ALL } });
  } else {
    for (const element of exportClause.elements) {
      const as = element.name.text;
      if (node.moduleSpecifier === undefined) module.declared.push(as);
      else if (to !== null)
        module.passedOn.push({ as, from: { file: to, name: (element.propertyName ?? element.name).text } });
    }
  }
}

function readModule(file: string, text: string, sources: Sources): Module {
  const source = parse(file, text);
  const module: Module = { declared: [], passedOn: [], imported: [] };
  const target = (specifier: string): string | null =>
    specifier.startsWith(".") ? resolve(file, specifier, sources) : null;
  for (const statement of source.statements) {
    if (ts.isImportDeclaration(statement) && ts.isStringLiteral(statement.moduleSpecifier)) {
      const to = target(statement.moduleSpecifier.text);
      if (to !== null)
        module.imported.push(...importedNames(source, statement).map((name) => ({ file: to, name })));
    } else if (ts.isExportDeclaration(statement)) {
      const specifier = statement.moduleSpecifier;
      addReExport(
        statement,
        specifier && ts.isStringLiteral(specifier) ? target(specifier.text) : null,
        module,
      );
    } else if (isExported(statement)) {
      module.declared.push(...declaredNames(statement));
    }
  }
  const visit = (node: ts.Node): void => {
    const loose = looseImport(node);
    const to = loose === null ? null : target(loose.specifier);
    if (loose !== null && to !== null) module.imported.push({ file: to, name: loose.name });
    ts.forEachChild(node, visit);
  };
  visit(source);
  return module;
}

type Modules = ReadonlyMap<string, Module>;

/** Every `file name` that the given starting points reach, through files that pass names on. */
function reach(modules: Modules, start: readonly Name[]): ReadonlySet<string> {
  const used = new Set<string>();
  const queue = [...start];
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    const { file, name } = next;
    const key = `${file} ${name}`;
    const module = modules.get(file);
    if (module === undefined || used.has(key)) continue;
    used.add(key);
    if (name === ALL) queue.push(...module.declared.map((one) => ({ file, name: one })));
    for (const { as, from } of module.passedOn) {
      if (as === ALL) queue.push({ file: from.file, name });
      else if (as === name || name === ALL) {
        used.add(`${file} ${as}`);
        queue.push(from);
      }
    }
  }
  return used;
}

export interface UnusedExports {
  /** `file: name` of every export that no other file imports. */
  readonly unused: readonly string[];
  /** As `unused`, for exports that only files of test/ import. */
  readonly testsOnly: readonly string[];
}

/**
 * @param sources src and everything that may import it
 * @param entryPoints files whose exports are for users outside the repository
 */
export function unusedExports(sources: Sources, entryPoints: readonly string[]): UnusedExports {
  const modules: Modules = new Map(
    [...sources].map(([file, text]) => [file, readModule(file, text, sources)]),
  );
  const entries = entryPoints.map((file) => ({ file, name: ALL }));
  const importsOf = (wanted: (file: string) => boolean): Name[] =>
    [...modules].flatMap(([file, module]) => (wanted(file) ? module.imported : []));
  const used = reach(modules, [...entries, ...importsOf(() => true)]);
  const product = reach(modules, [...entries, ...importsOf((file) => !file.startsWith("test/"))]);
  const result = { unused: [] as string[], testsOnly: [] as string[] };
  for (const [file, { declared, passedOn }] of modules) {
    if (!file.startsWith("src/") || file.startsWith("src/generated/")) continue;
    for (const name of [...declared, ...passedOn.map(({ as }) => as)]) {
      if (name === ALL || product.has(`${file} ${name}`)) continue;
      (used.has(`${file} ${name}`) ? result.testsOnly : result.unused).push(`${file}: ${name}`);
    }
  }
  return result;
}
