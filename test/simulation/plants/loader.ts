/** Loads the sources with one planted bug: the text of its file is changed before it is compiled. */
import { readFileSync } from "node:fs";
import Module from "node:module";
import { join } from "node:path";
import type { Plant } from "./plant";
import { PLANTS } from "./all";

const SRC = join(__dirname, "..", "..", "..", "src");

/** @throws when there is no such plant, or its place in the sources is not there, or more than once */
export function plantInLoader(name: string): void {
  const plant = PLANTS.find((candidate) => candidate.name === name);
  if (plant === undefined) throw new Error(`there is no plant ${name}`);
  const texts = planted(plant);
  const extensions = (Module as unknown as { _extensions: Record<string, Loader> })._extensions;
  const load = extensions[".ts"];
  if (load === undefined) throw new Error("TypeScript is not loaded by this process");
  extensions[".ts"] = (module, filename) => {
    const text = texts.get(filename);
    if (text === undefined) load(module, filename);
    else {
      withSource(filename, text, () => {
        load(module, filename);
      });
    }
  };
}

type Loader = (module: object, filename: string) => void;

/** The texts with the bug, by file. */
export function planted({ name, edits }: Plant): Map<string, string> {
  const texts = new Map<string, string>();
  for (const { file, find, replace } of edits) {
    const path = join(SRC, file);
    const text = texts.get(path) ?? readFileSync(path, "utf8");
    const places = text.split(find).length - 1;
    if (places !== 1) throw new Error(`plant ${name}: its place is ${places} times in ${file}`);
    texts.set(
      path,
      text.replace(find, () => replace),
    );
  }
  return texts;
}

/** Runs `act` while the module loader reads `text` in place of the file. */
function withSource(filename: string, text: string, act: () => void): void {
  // The loader calls readFileSync as a property of node:fs, so that replacing the property has an effect.
  const fs = Module.createRequire(__filename)("node:fs") as { readFileSync: typeof readFileSync };
  const original = fs.readFileSync;
  const reading = (path: unknown, ...rest: unknown[]): unknown =>
    path === filename ? text : (original as (...args: unknown[]) => unknown)(path, ...rest);
  fs.readFileSync = reading as typeof readFileSync;
  try {
    act();
  } finally {
    fs.readFileSync = original;
  }
}
