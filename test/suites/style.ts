/**
 * Rules of style that a program can check: headers, lengths, unproven types, purity, tests left out. Functions over
 * source text; style.test.ts shows each one a file that breaks it, then the repository.
 */
import * as ts from "typescript";
import { parse, type Sources } from "./architecture";

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

/** The line of a position in the node's file, counted from 0. */
function lineOf(node: ts.Node, position: number): number {
  return node.getSourceFile().getLineAndCharacterOfPosition(position).line;
}

function walk(
  file: string,
  text: string,
  judge: (node: ts.Node, lines: string[]) => string | null,
): string[] {
  const source = parse(file, text);
  const lines = text.split("\n");
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    const problem = judge(node, lines);
    if (problem !== null) found.push(`${file}:${lineOf(node, node.getStart(source)) + 1}: ${problem}`);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

const HAS_COMMENT = /\/\/|\*\//;

/** Every `value!` without a comment on its line or the line before, and every `any`. */
export function unprovenTypes(sources: Sources): string[] {
  return [...sources].flatMap(([file, text]) =>
    walk(file, text, (node, lines) => {
      if (node.kind === ts.SyntaxKind.AnyKeyword) return "any";
      if (!ts.isNonNullExpression(node)) return null;
      const line = lineOf(node, node.getStart());
      const near = lines.slice(Math.max(0, line - 1), lineOf(node, node.getEnd()) + 1).join("\n");
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

/** A callback of describe groups tests, as a namespace would: its length says nothing about a function's. */
function groupsTests(node: ts.Node): boolean {
  const { parent } = node;
  if (!ts.isCallExpression(parent)) return false;
  return /^describe(\.|$)/.test(parent.expression.getText());
}

/** Functions, methods, accessors, constructors and arrow functions of more than `linesMax` lines. */
export function longFunctions(sources: Sources, linesMax: number): string[] {
  return [...sources].flatMap(([file, text]) =>
    walk(file, text, (node) => {
      if (!ts.isFunctionLike(node) || !("body" in node) || groupsTests(node)) return null;
      const length = lineOf(node, node.getEnd()) - lineOf(node, node.getStart()) + 1;
      return length > linesMax ? `a function of ${length} lines` : null;
    }),
  );
}
