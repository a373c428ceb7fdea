/** Values of the configuration file are the text that they are: YAML's numbers and booleans change no name. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConfigError, loadConfig } from "../../src/server/config";
import type { ServerConfig } from "../../src/server/config";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "muster-config-text-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function load(lines: readonly string[]): ServerConfig {
  const file = join(folder, "node.yaml");
  const base = ["admin-url: http://127.0.0.1:7460", "peer-url: http://127.0.0.1:7461", "data-dir: /data"];
  writeFileSync(file, [...base, ...lines, ""].join("\n"));
  return loadConfig({ file, flags: {}, env: {} });
}

test.each(["007", "1e3", "0x10", "true", "null", "1.10", "no", "2024-01-01"])(
  "name: %s stays this name",
  (name) => {
    expect(load([`name: ${name}`]).name).toBe(name);
    expect(load([`name: "${name}"`]).name).toBe(name);
  },
);

test("numbers are whole numbers in decimal, as flags and variables have them", () => {
  const lines = ["name: n1", "heartbeat-interval: 50", "election-timeout: '500' # milliseconds"];
  expect(load(lines)).toMatchObject({ heartbeatMs: 50, electionMs: 500 });
  expect(() => load(["name: n1", "heartbeat-interval: 1e2"])).toThrow(
    /heartbeat-interval: must be a whole number/,
  );
});

test.each(["name:", "name: ~", 'name: ""'])("%s is no name", (line) => {
  expect(() => load([line])).toThrow(ConfigError);
});

test("an empty file has no keys", () => {
  const file = join(folder, "empty.yaml");
  writeFileSync(file, "# nothing yet\n");
  expect(() => loadConfig({ file, flags: {}, env: {} })).toThrow(/^name: required/);
});
