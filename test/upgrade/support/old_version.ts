/** The version before this one, as a build that runs: scripts/old_build.js makes it from the repository's history. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../../e2e/support/processes";
import type { MemberProcess } from "../../e2e/support/process_cluster";

interface OldVersion {
  /** The command. */
  readonly main: string;
  readonly version: string;
}

/** Builds it if needed. */
export function oldVersion(): OldVersion {
  const script = join(ROOT, "scripts/old_build.js");
  const folder = execFileSync(process.execPath, [script], { cwd: ROOT, encoding: "utf8" }).trim();
  const described = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { version: string };
  return { main: join(folder, "dist/cli/main.js"), version: described.version };
}

/** Lets the member run with this command from now on. It is stopped as a service manager does. */
export async function changeVersion(member: MemberProcess, main: string): Promise<void> {
  const exit = await member.stop();
  expect([member.name, exit]).toEqual([member.name, { code: 0, signal: null }]);
  member.main = main;
  member.start();
}
