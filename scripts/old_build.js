/**
 * A build of the version before this one, for the tests of upgrades: the commit is taken out of the repository's own
 * history, compiled, and kept in node_modules/.cache. Its packages are those installed here as long as both lock files name
 * the same; otherwise they are installed beside it.
 *
 * Run as a program it prints the folder, in which `dist` is what that version's `npm run build` makes.
 */
"use strict";
const { execFileSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");

const root = path.resolve(__dirname, "..");

/** The last commit of the version before. */
const OLD = { version: "0.2.0", commit: "f83a2f93a9e470881942cbb6f7c1bd298c63b3e0" };

const BUILT_FROM = ["src", "tsconfig.base.json", "tsconfig.json", "package.json", "package-lock.json"];

/** Whether the history of this clone has the commit; not in a shallow clone, nor outside of one. */
function hasOldCommit() {
  try {
    execFileSync("git", ["cat-file", "-e", `${OLD.commit}^{commit}`], { cwd: root, stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

/** The packages that a lock file names, without the project itself. */
function packagesOf(folder) {
  const { packages } = JSON.parse(fs.readFileSync(path.join(folder, "package-lock.json"), "utf8"));
  const named = Object.entries(packages).filter(([name]) => name !== "");
  return JSON.stringify(named.map(([name, { version, integrity }]) => [name, version, integrity]));
}

function run(file, args, cwd) {
  execFileSync(file, args, { cwd, stdio: ["ignore", 2, 2] });
}

/** Compiles the commit in an empty folder. Types are not checked: they were when it was committed. */
function buildIn(folder) {
  const archive = path.join(folder, "source.tar");
  run("git", ["archive", "--output", archive, OLD.commit, ...BUILT_FROM], root);
  run("tar", ["-xf", archive], folder);
  fs.rmSync(archive);
  const modules = path.join(folder, "node_modules");
  const shared = packagesOf(folder) === packagesOf(root);
  if (shared) fs.symlinkSync(path.join(root, "node_modules"), modules, "junction");
  else run("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder);
  const tsc = path.join(modules, "typescript", "bin", "tsc");
  const options = ["--noCheck", "--declaration", "false", "--incremental", "false"];
  run(process.execPath, [tsc, "-p", "tsconfig.json", ...options], folder);
  // A folder below node_modules finds the packages of this repository without a link.
  if (shared) fs.unlinkSync(modules);
}

/** The folder of the build, made if needed. @throws when the history does not have the commit, or it can't be built */
function ensureOldBuild() {
  const cached = path.join(root, "node_modules", ".cache", "old-build", OLD.commit);
  if (fs.existsSync(cached)) return cached;
  console.error(`building version ${OLD.version}`);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "muster-old-build-"));
  try {
    buildIn(folder);
    fs.mkdirSync(path.dirname(cached), { recursive: true });
    // Complete or absent: an interrupted copy is not taken for a build.
    const copy = `${cached}.${process.pid}`;
    fs.cpSync(folder, copy, { recursive: true, verbatimSymlinks: true });
    fs.renameSync(copy, cached);
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
  return cached;
}

module.exports = { OLD, hasOldCommit, ensureOldBuild };

if (require.main === module) {
  try {
    console.log(ensureOldBuild());
  } catch (error) {
    console.error(`muster: ${error.message}`);
    process.exitCode = 1;
  }
}
