/**
 * Lets Node run the project's TypeScript sources (tests, benchmarks and their runners) without a build:
 * `node -r ./scripts/swc-register.js FILE.ts`. Types are checked by `npm run verify`, not here.
 */
"use strict";
const fs = require("node:fs");
const Module = require("node:module");
const { transformSync } = require("@swc/core");

const options = {
  jsc: { parser: { syntax: "typescript" }, target: "es2022" },
  module: { type: "commonjs" },
  sourceMaps: "inline",
};
Module._extensions[".ts"] = (module, filename) => {
  const { code } = transformSync(fs.readFileSync(filename, "utf8"), { ...options, filename });
  module._compile(code, filename);
};
