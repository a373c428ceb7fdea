/**
 * Parser of the data-driven script format: directives of a command with arguments, an optional input, a line `----`,
 * and the expected output.
 *
 * `#` lines and blank lines between directives are skipped; `\` at a line's end continues a command line. The output
 * ends at the first blank line; an output that has to hold blank lines itself is enclosed in double separators.
 */

export interface DirectiveArg {
  readonly key: string;
  /** Empty for a bare key; one value for `key=v`; each of `key=(v1, v2)`. */
  readonly vals: readonly string[];
}

export interface Directive {
  /** Line number of the command, from 1. */
  readonly pos: string;
  readonly cmd: string;
  readonly args: readonly DirectiveArg[];
  /** Without blank space around it. */
  readonly input: string;
  /** Lines joined by newlines, without one at the end. */
  readonly expected: string;
  /** The expected output as lines of the file: [first, last), from 0. */
  readonly expectedLines: readonly [first: number, last: number];
}

const SEPARATOR = "----";

/** @throws Error with the line number for a script that is not in the format */
export function parseFile(text: string): Directive[] {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  const directives: Directive[] = [];
  let at = 0;
  while (at < lines.length) {
    const first = (lines[at] ?? "").trim();
    if (first === "" || first.startsWith("#")) {
      at++;
      continue;
    }
    const pos = at + 1;
    let command = first;
    at++;
    while (command.endsWith("\\") && at < lines.length) {
      command = `${command.slice(0, -1).trimEnd()} ${(lines[at] ?? "").trim()}`;
      at++;
    }
    const inputStart = at;
    while (at < lines.length && lines[at] !== SEPARATOR) at++;
    if (at === lines.length) throw new Error(`line ${pos}: no ${SEPARATOR} after ${JSON.stringify(command)}`);
    const input = lines.slice(inputStart, at).join("\n").trim();
    at++;
    const output = readExpected(lines, at);
    at = output.next;
    const [cmd, args] = parseCommand(command, pos);
    directives.push({
      pos: String(pos),
      cmd,
      args,
      input,
      expected: lines.slice(...output.range).join("\n"),
      expectedLines: output.range,
    });
  }
  return directives;
}

function readExpected(lines: readonly string[], from: number): { range: [number, number]; next: number } {
  let at = from;
  if (lines[at] === SEPARATOR) {
    at++;
    const first = at;
    while (at < lines.length && !(lines[at] === SEPARATOR && lines[at + 1] === SEPARATOR)) at++;
    return { range: [first, at], next: at + 2 };
  }
  while (at < lines.length && (lines[at] ?? "").trim() !== "") at++;
  return { range: [from, at], next: at };
}

/** Splits at blanks outside parentheses. */
function parseCommand(line: string, pos: number): [cmd: string, args: DirectiveArg[]] {
  const words: string[] = [];
  let word = "";
  let depth = 0;
  for (const char of line) {
    if (char === "(") depth++;
    if (char === ")") depth--;
    if (depth === 0 && (char === " " || char === "\t")) {
      if (word !== "") words.push(word);
      word = "";
    } else {
      word += char;
    }
  }
  if (depth !== 0) throw new Error(`line ${pos}: unbalanced parentheses in ${JSON.stringify(line)}`);
  if (word !== "") words.push(word);
  const [cmd = "", ...rest] = words;
  return [cmd, rest.map(parseArg)];
}

function parseArg(word: string): DirectiveArg {
  const equals = word.indexOf("=");
  if (equals < 0) return { key: word, vals: [] };
  const key = word.slice(0, equals);
  const value = word.slice(equals + 1);
  if (!value.startsWith("(") || !value.endsWith(")")) return { key, vals: [value] };
  const inner = value.slice(1, -1).trim();
  return { key, vals: inner === "" ? [] : inner.split(",").map((part) => part.trim()) };
}
