/** `npm run fix`: applies eslint's automatic fixes, then formats with prettier. */
"use strict";
const { ensureInstalled } = require("./ensure");

async function main() {
  ensureInstalled();
  const { runTool } = require("./tools");
  const lint = await runTool("eslint", ["--fix", "."]);
  const format = await runTool("prettier", ["--write", "--log-level", "warn", "."]);
  process.exitCode = lint.code === 0 && format.code === 0 ? 0 : 1;
}

main().catch((error) => {
  console.error(`muster: ${error.message}`);
  process.exitCode = 1;
});
