/** The repository as text, for the tests that hold rules to it. */
import * as fs from "node:fs";
import * as path from "node:path";
import type { Sources } from "./architecture";

export const root = path.resolve(__dirname, "../..");

/** Every file below a folder that ends in one of `endings`, path -> text. A folder that is not there has none. */
export function read(folder: string, endings: readonly string[] = [".ts"]): Map<string, string> {
  const files = filesBelow(folder).filter((file) => endings.some((ending) => file.endsWith(ending)));
  return new Map(files.map((file) => [file, fs.readFileSync(path.join(root, file), "utf8")]));
}

/** Every file below a folder, sorted. */
function filesBelow(folder: string): string[] {
  if (!fs.existsSync(path.join(root, folder))) return [];
  return fs
    .readdirSync(path.join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)).split(path.sep).join("/"))
    .sort();
}

export function withoutGenerated(sources: Sources): Map<string, string> {
  return new Map([...sources].filter(([file]) => !file.startsWith("src/generated/")));
}

/** What people wrote in src, test, bench and scripts. */
export function writtenSources(): Map<string, string> {
  return new Map([
    ...withoutGenerated(read("src")),
    ...read("test", [".ts", ".js"]),
    ...read("bench"),
    ...read("scripts", [".js"]),
  ]);
}

/** The pages for people whose references are held to what there is. */
export function pages(): Map<string, string> {
  const text = (file: string): [string, string] => [file, fs.readFileSync(path.join(root, file), "utf8")];
  return new Map([...read("docs", [".md"]), text("README.md"), text("CONTRIBUTING.md")]);
}

const NOT_FILES = new Set([".git", "node_modules", "dist", "coverage"]);

/** Every file of the repository, but for what is installed or built. */
export function allFiles(): Set<string> {
  const found = new Set<string>();
  for (const entry of fs.readdirSync(root, { withFileTypes: true })) {
    if (NOT_FILES.has(entry.name)) continue;
    if (entry.isDirectory()) for (const file of filesBelow(entry.name)) found.add(file);
    else found.add(entry.name);
  }
  return found;
}
