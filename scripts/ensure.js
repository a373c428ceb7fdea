/**
 * Prepares a fresh clone: installs the packages of package-lock.json and compiles src to dist, each only when needed.
 *
 * Installed means that npm's record in node_modules matches the lock file. Built means that dist contains the digest of
 * the current sources. Neither compares file times, so that a checkout of older files is noticed too. Requires no
 * package, because it runs before any is installed.
 */
"use strict";
const { execFileSync, spawnSync } = require("node:child_process");
const { createHash } = require("node:crypto");
const fs = require("node:fs");
const path = require("node:path");

const root = path.resolve(__dirname, "..");
const stampFile = path.join(root, "dist", ".stamp");

function packagesOf(file) {
  try {
    return JSON.parse(fs.readFileSync(path.join(root, file), "utf8")).packages ?? {};
  } catch {
    return null;
  }
}

/** Whether node_modules contains exactly the packages of the lock file; packages for other platforms may be missing. */
function isInstalled() {
  const wanted = packagesOf("package-lock.json");
  const present = packagesOf("node_modules/.package-lock.json");
  if (wanted === null || present === null) return false;
  for (const [name, entry] of Object.entries(wanted)) {
    if (name === "" || entry.optional === true || entry.link === true) continue;
    if (present[name]?.version !== entry.version) return false;
  }
  return Object.entries(present).every(([name, entry]) => wanted[name]?.version === entry.version);
}

function ensureInstalled() {
  if (isInstalled()) return;
  console.log("installing packages (npm ci)");
  const result = spawnSync("npm", ["ci", "--no-audit", "--no-fund"], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
    shell: process.platform === "win32",
  });
  if (result.status !== 0) throw new Error("npm ci failed: see above");
}

function filesUnder(folder) {
  const entries = fs.readdirSync(path.join(root, folder), { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(root, path.join(entry.parentPath ?? entry.path, entry.name)))
    .sort();
}

/** A digest of all files that determine the contents of dist. */
function sourceDigest() {
  const hash = createHash("sha256");
  for (const file of [...filesUnder("src"), "tsconfig.base.json", "tsconfig.json", "package-lock.json"]) {
    hash
      .update(`${file}\0`)
      .update(fs.readFileSync(path.join(root, file)))
      .update("\0");
  }
  return hash.digest("hex");
}

function isBuilt() {
  try {
    return fs.readFileSync(stampFile, "utf8") === sourceDigest();
  } catch {
    return false;
  }
}

/** Removes the output of deleted sources, which require() would still find. */
function removeStaleOutput() {
  for (const file of filesUnder("dist")) {
    const source = file.replace(/^dist/, "src").replace(/(\.d\.ts|\.js\.map|\.js)$/, ".ts");
    if (source.endsWith(".ts") && !fs.existsSync(path.join(root, source))) fs.rmSync(path.join(root, file));
  }
}

/** Compiles src to dist. @throws when the compiler reports an error; dist then counts as not built */
function build() {
  const digest = sourceDigest();
  const incremental = path.join(root, "node_modules", ".cache", "tsbuildinfo", "src");
  // The compiler's build info lists the files that it wrote, even if they were deleted since. Without our stamp, compile
  // everything again.
  if (!fs.existsSync(stampFile)) fs.rmSync(incremental, { force: true });
  const tsc = path.join(root, "node_modules", "typescript", "bin", "tsc");
  try {
    execFileSync(process.execPath, [tsc, "-p", "tsconfig.json"], {
      cwd: root,
      stdio: ["ignore", "inherit", "inherit"],
    });
  } catch {
    fs.rmSync(stampFile, { force: true });
    throw new Error("the build failed: see above");
  }
  removeStaleOutput();
  fs.writeFileSync(stampFile, digest);
}

function ensureBuilt() {
  if (isBuilt()) return;
  console.log("building (tsc)");
  build();
}

/** Installs and builds if needed. When either fails, prints one line and exits with 1. */
function ensure() {
  try {
    ensureInstalled();
    ensureBuilt();
  } catch (error) {
    console.error(`muster: ${error.message}`);
    process.exit(1);
  }
}

module.exports = { ensure, ensureInstalled, ensureBuilt, build, isInstalled, isBuilt };
