/**
 * What comments and pages refer to: files of this repository that do not exist, and pages that are not part of it.
 *
 * A reference is a path from the root (`src/raft/log.ts`, `docs/adr`), or a file name with a known ending, with or without
 * some of its folders (`raft/log.ts`, `log.ts`). Words with a wildcard or a placeholder are no references.
 */
import * as ts from "typescript";
import { parse, type Sources } from "./architecture";

/** Folders at the root whose paths are references, with or without an ending. */
const ROOTS = ["src", "docs", "test", "bench", "scripts", "proto", "deploy", "examples", ".ci"];
const FILE_NAME = /\.(ts|js|md|proto)$/;
/** What is installed or built, and the one product with a name like a file's. */
const NOT_OURS = /^(dist|node_modules|coverage)(\/|$)|^Node\.js$/;
/** Pages about the project that live outside of it. */
const OUTSIDE_PAGES = /\b(SPEC|DESIGN|STYLE)\b/;

/** A piece of prose and the line that it begins on, counted from 1. */
interface Prose {
  readonly line: number;
  readonly text: string;
}

/** The comments of a TypeScript or JavaScript file. */
function comments(file: string, text: string): Prose[] {
  const source = parse(file, text);
  const found = new Map<number, ts.CommentRange>();
  const add = (ranges: readonly ts.CommentRange[] | undefined): void => {
    for (const range of ranges ?? []) found.set(range.pos, range);
  };
  const visit = (node: ts.Node): void => {
    add(ts.getLeadingCommentRanges(text, node.getFullStart()));
    add(ts.getTrailingCommentRanges(text, node.getEnd()));
    for (const child of node.getChildren(source)) visit(child);
  };
  visit(source);
  return [...found.values()].map(({ pos, end }) => ({
    line: source.getLineAndCharacterOfPosition(pos).line + 1,
    text: text.slice(pos, end),
  }));
}

/** All of a page; the comments of a source file. */
export function proseOf(file: string, text: string): Prose[] {
  return file.endsWith(".md") ? [{ line: 1, text }] : comments(file, text);
}

/** Every word of a text that names a file of this repository, with its offset. */
function references(text: string): { readonly at: number; readonly path: string }[] {
  const found: { at: number; path: string }[] = [];
  // Everything up to a blank or a bracket is one word, so that an address or a wildcard is not cut into file names.
  for (const match of text.matchAll(/[^\s`"'()[\]|,;]+/g)) {
    const path = match[0]
      .replace(/[.:!?]+$|#.*$|:\d+(:\d+)?$/g, "")
      .replace(/^(\.\.?\/)+/, "")
      .replace(/\/$/, "");
    if (/[*<>{}$=@\\]|\.\.\./.test(path) || NOT_OURS.test(path) || path.includes("://")) continue;
    const rooted = path.includes("/") && ROOTS.includes(path.split("/")[0] ?? "");
    const name = path.split("/").at(-1) ?? "";
    const isFile =
      FILE_NAME.test(name) && /^[\w.-]+$/.test(name) && /[a-z]/.test(name.replace(FILE_NAME, ""));
    if (rooted || isFile) found.push({ at: match.index, path });
  }
  return found;
}

/** Whether a path, or the end of one, is a file or a folder of the repository. */
function exists(path: string, files: ReadonlySet<string>): boolean {
  if (files.has(path)) return true;
  for (const file of files) if (file.endsWith(`/${path}`) || file.startsWith(`${path}/`)) return true;
  return false;
}

/**
 * References to files that are not there, as `file:line: path`.
 * @param files every file of the repository
 */
export function deadReferences(sources: Sources, files: ReadonlySet<string>): string[] {
  const known = new Map<string, boolean>();
  const isKnown = (path: string): boolean => {
    const answer = known.get(path) ?? exists(path, files);
    known.set(path, answer);
    return answer;
  };
  return [...sources].flatMap(([file, text]) =>
    proseOf(file, text).flatMap((prose) =>
      references(prose.text)
        .filter(({ path }) => !isKnown(path))
        .map(
          ({ at, path }) => `${file}:${prose.line + prose.text.slice(0, at).split("\n").length - 1}: ${path}`,
        ),
    ),
  );
}

/** Citations of pages that are not in the repository, as `file:line: line of text`. */
export function outsideCitations(sources: Sources): string[] {
  return [...sources].flatMap(([file, text]) =>
    proseOf(file, text).flatMap((prose) =>
      prose.text
        .split("\n")
        .flatMap((line, i) =>
          OUTSIDE_PAGES.test(line)
            ? [`${file}:${prose.line + i}: ${line.trim().replace(/^(\/\*\*|\*|\/\/) ?/, "")}`]
            : [],
        ),
    ),
  );
}
