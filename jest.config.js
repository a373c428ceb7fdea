/**
 * Unit tests run side by side; suites that start clusters or processes have the machine to themselves
 * (scripts/test.js runs the projects one after another).
 */
const transform = {
  "^.+\\.ts$": [
    "@swc/jest",
    { jsc: { parser: { syntax: "typescript" }, target: "es2022" }, module: { type: "commonjs" } },
  ],
};
const project = (displayName, testMatch, testPathIgnorePatterns = []) => ({
  displayName,
  testMatch,
  testPathIgnorePatterns: ["/node_modules/", ...testPathIgnorePatterns],
  transform,
  testEnvironment: "node",
});

module.exports = {
  projects: [
    project(
      "unit",
      ["<rootDir>/test/**/*.test.ts"],
      ["/test/integration/", "/test/e2e/", "/test/simulation/", "/test/upgrade/"],
    ),
    project("simulation", ["<rootDir>/test/simulation/**/*.test.ts"]),
    project("integration", ["<rootDir>/test/integration/**/*.test.ts"]),
    project("e2e", ["<rootDir>/test/e2e/**/*.test.ts"]),
    // Needs a build of the version before: `npm run upgrade`.
    project("upgrade", ["<rootDir>/test/upgrade/**/*.test.ts"]),
  ],
};
