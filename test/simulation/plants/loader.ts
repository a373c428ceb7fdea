/** Loads the sources with one planted bug: the text of its file is changed before it is compiled. */
import { readFileSync } from "node:fs";
import Module from "node:module";
import { join } from "node:path";
import type { Plant } from "./plant";
import { PLANTS } from "./all";

const SRC = join(__dirname, "..", "..", "..", "src");

interface Compiling {
  _compile(code: string, filename: string): void;
}

/** @throws when there is no such plant, or its place in the sources is not there, or more than once */
export function plantInLoader(name: string): void {
  const plant = PLANTS.find((candidate) => candidate.name === name);
  if (plant === undefined) throw new Error(`there is no plant ${name}`);
  const target = join(SRC, plant.file);
  const extensions = (Module as unknown as { _extensions: Record<string, Loader> })._extensions;
  const load = extensions[".ts"];
  if (load === undefined) throw new Error("TypeScript is not loaded by this process");
  planted(plant);
  extensions[".ts"] = (module, filename) => {
    if (filename !== target) {
      load(module, filename);
      return;
    }
    withSource(filename, planted(plant), () => {
      load(module, filename);
    });
  };
}

type Loader = (module: Compiling, filename: string) => void;

/** The file's text with the bug. */
export function planted({ name, file, find, replace }: Plant): string {
  const text = readFileSync(join(SRC, file), "utf8");
  const places = text.split(find).length - 1;
  if (places !== 1) throw new Error(`plant ${name}: its place is ${places} times in ${file}`);
  return text.replace(find, () => replace);
}

/** Lets the loader read another text than the file's. */
function withSource(filename: string, text: string, act: () => void): void {
  // The loader reads by the module's own property, so that it can be put aside for one call.
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
