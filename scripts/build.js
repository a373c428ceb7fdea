/** `npm run build`: installs if needed and compiles src to dist, whether or not dist seems current. */
"use strict";
const { build, ensureInstalled } = require("./ensure");

try {
  ensureInstalled();
  build();
} catch (error) {
  console.error(`muster: ${error.message}`);
  process.exitCode = 1;
}
