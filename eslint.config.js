/**
 * Lint rules: typescript-eslint's strictTypeChecked, and the project's own rules that a linter can see. Import rules
 * between layers are in test/suites/architecture.test.ts, format is prettier's. Every relaxed rule says why.
 */
"use strict";
const tseslint = require("typescript-eslint");

/** A Node global or property that makes a pure layer depend on when and where it runs. */
const IMPURE_GLOBALS = [
  "console",
  "crypto",
  "fetch",
  "global",
  "performance",
  "process",
  "queueMicrotask",
  "require",
  "module",
  "setImmediate",
  "setInterval",
  "setTimeout",
  "structuredClone",
].map((name) => ({ name, message: "This layer is pure: time, chance and effects come in as arguments." }));

const IMPURE_PROPERTIES = [
  { object: "Math", property: "random", message: "Chance comes in as an argument." },
  { object: "globalThis", property: "process", message: "This layer is pure." },
];

/** A Date made from a given time is only a way to print it. */
const CLOCKS = [
  {
    selector: "NewExpression[callee.name='Date'][arguments.length=0]",
    message: "Time comes in as an argument.",
  },
  { selector: "CallExpression[callee.name='Date']", message: "Time comes in as an argument." },
  {
    selector: "MemberExpression[object.name='Date'][property.name='now']",
    message: "Time comes in as an argument.",
  },
];

/** Asynchrony would let two steps of the core interleave. */
const ASYNC_SYNTAX = [
  { selector: ":function[async=true]", message: "This layer is synchronous." },
  { selector: "AwaitExpression", message: "This layer is synchronous." },
];

module.exports = tseslint.config(
  {
    ignores: ["dist/", "coverage/", "node_modules/", "src/generated/"],
  },
  {
    // A disable comment that disables nothing hides the next violation.
    linterOptions: { reportUnusedDisableDirectives: "error" },
  },
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { project: "./tsconfig.test.json", tsconfigRootDir: __dirname } },
    rules: {
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/consistent-type-imports": ["error", { fixStyle: "inline-type-imports" }],
      "@typescript-eslint/switch-exhaustiveness-check": [
        "error",
        { considerDefaultExhaustiveForUnions: true },
      ],
      // Relaxed: `x == null` is the one way to say "null or undefined".
      eqeqeq: ["error", "always", { null: "ignore" }],
      "no-console": "error",
      "prefer-const": "error",
      "no-var": "error",
      // Relaxed: ids are bigints and terms numbers, and both print the same way everywhere.
      "@typescript-eslint/restrict-template-expressions": [
        "error",
        { allowNumber: true, allowBoolean: true },
      ],
      // Relaxed: `() => stream.end()` is clear, and braces around it add nothing.
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
      // Relaxed: `for (;;)` and `while (true)` are how a loop without end is written.
      "@typescript-eslint/no-unnecessary-condition": ["error", { allowConstantLoopConditions: true }],
      // Off: test/suites/style.test.ts wants a comment with a proof beside each `!` of src instead.
      "@typescript-eslint/no-non-null-assertion": "off",
      // Relaxed: a leading underscore marks a parameter that a signature demands.
      "@typescript-eslint/no-unused-vars": [
        "error",
        { argsIgnorePattern: "^_", varsIgnorePattern: "^_", caughtErrors: "none" },
      ],
      // Off: an async method may fulfil an interface whose other implementations wait.
      "@typescript-eslint/require-await": "off",
      // Relaxed: protobuf enums are numbers on the wire, and an unknown one has to be compared with the known.
      "@typescript-eslint/no-unsafe-enum-comparison": "off",
      // Off: the core's enums are the wire's numbers by contract; the codecs check the range before they convert.
      "@typescript-eslint/no-unsafe-enum-assignment": "off",
    },
  },
  {
    files: ["src/raft/**/*.ts", "src/roster/**/*.ts"],
    rules: {
      "no-restricted-globals": [
        "error",
        ...IMPURE_GLOBALS,
        { name: "Promise", message: "This layer is synchronous." },
      ],
      "no-restricted-properties": ["error", ...IMPURE_PROPERTIES],
      "no-restricted-syntax": ["error", ...CLOCKS, ...ASYNC_SYNTAX],
    },
  },
  {
    // The command talks to people, and by streams that are passed in; only entry points own the process.
    files: ["src/!(cli|generated|raft|roster)/**/*.ts"],
    rules: {
      "no-restricted-properties": [
        "error",
        { object: "process", property: "exit", message: "Only the command's entry points end the process." },
      ],
    },
  },
  {
    files: ["test/**/*.ts", "bench/**/*.ts"],
    rules: {
      // Off: expect(object.method) and jest.fn() pass methods about without calling them.
      "@typescript-eslint/unbound-method": "off",
      // Off: an index that the test just made is checked by the test failing.
      "@typescript-eslint/no-unnecessary-condition": "off",
      // Off: runners and benches print their tables.
      "no-console": "off",
      // Off: rejections of any kind are what some tests are about.
      "@typescript-eslint/prefer-promise-reject-errors": "off",
      // Off: fakes implement one method of many and leave the rest empty.
      "@typescript-eslint/no-empty-function": "off",
    },
  },
  {
    files: ["**/*.js"],
    languageOptions: { sourceType: "commonjs", ecmaVersion: 2023 },
    rules: { eqeqeq: "error", "prefer-const": "error", "no-var": "error", "no-unused-vars": "error" },
  },
);
