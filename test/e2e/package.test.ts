/** The package in another project: two entries with types, and nothing else. Needs the build. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = join(__dirname, "..", "..");
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "muster-package-"));
  mkdirSync(join(folder, "node_modules"));
  symlinkSync(ROOT, join(folder, "node_modules", "muster"));
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

function node(code: string): { readonly status: number | null; readonly output: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["-e", code], {
    cwd: folder,
    encoding: "utf8",
  });
  return { status, output: `${stdout}${stderr}` };
}

test("the entries are the client and the server", () => {
  const code =
    "const { MusterClient } = require('muster'); const { startServer, loadConfig } = require('muster/server');" +
    "console.log([MusterClient, startServer, loadConfig].map((entry) => typeof entry).join());";
  expect(node(code)).toEqual({ status: 0, output: "function,function,function\n" });
});

test.each(["muster/dist/server/member.js", "muster/cluster", "muster/raft"])(
  "%s can't be imported",
  (name) => {
    const { status, output } = node(`require('${name}')`);
    expect(status).not.toBe(0);
    expect(output).toContain("ERR_PACKAGE_PATH_NOT_EXPORTED");
  },
);

test("both entries have types", () => {
  const file = join(folder, "user.ts");
  writeFileSync(
    file,
    `import { MusterClient } from "muster";
import { loadConfig, startServer, type Server } from "muster/server";
export async function run(): Promise<bigint> {
  const server: Server = await startServer(loadConfig({ flags: { name: "n1" }, env: {} }));
  const client = new MusterClient({ endpoints: ["127.0.0.1:7460"] });
  const { header } = await client.getMembers();
  await server.stop();
  return header?.revision ?? 0n;
}
// @ts-expect-error: a string is no config; without types this line would compile
export const wrong = startServer("text");
`,
  );
  const tsc = join(ROOT, "node_modules", "typescript", "bin", "tsc");
  const args = ["--noEmit", "--strict", "--skipLibCheck", "--module", "node16", "--target", "es2022"];
  const types = ["--types", "node", "--typeRoots", join(ROOT, "node_modules", "@types")];
  execFileSync(process.execPath, [tsc, ...args, ...types, file], { cwd: folder, stdio: "pipe" });
}, 60_000);
