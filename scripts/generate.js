/**
 * `npm run generate`: brings src/generated up to date with proto/. Writes only files that differ.
 *
 * `npm run generate -- --baseline` also makes the current contract the one that later changes must stay compatible with.
 * Use it for a release, or for a change that breaks only parts that were never released; give the reason in the commit.
 */
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const { ensureInstalled } = require("./ensure");

async function main() {
  ensureInstalled();
  // Loaded after the installation, because these modules start installed tools.
  const { BASELINE, compareGenerated, writeImage } = require("./contract");
  const { root } = require("./tools");
  const { wanted, changed, stale } = await compareGenerated();
  for (const file of changed) {
    const target = path.join(root, "src", "generated", file);
    fs.mkdirSync(path.dirname(target), { recursive: true });
    fs.writeFileSync(target, wanted.get(file));
    console.log(`wrote src/generated/${file}`);
  }
  for (const file of stale) {
    fs.rmSync(path.join(root, "src", "generated", file));
    console.log(`removed src/generated/${file}`);
  }
  if (changed.length + stale.length === 0) console.log("src/generated is current");
  if (process.argv.includes("--baseline")) {
    await writeImage(path.join(root, BASELINE));
    console.log(`wrote ${BASELINE}`);
  }
}

main().catch((error) => {
  console.error(`muster: ${error.message}`);
  process.exitCode = 1;
});
