/**
 * AddMember at a follower passes each layer once on the way in and once on the way out, in the order that
 * docs/architecture.md shows.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { TestCluster } from "./support/cluster";
import type { TestMember } from "./support/cluster";

const ROOT = join(__dirname, "..", "..");

interface Step {
  readonly member: string;
  readonly place: string;
  readonly call: string;
}

/** The steps in the page's table, with rows like `| 1 | follower | cluster/writes.ts | Writes.execute returns |`. */
function documentedSteps(): Step[] {
  const page = readFileSync(join(ROOT, "docs", "architecture.md"), "utf8");
  const rows = page.matchAll(/^\| +\d+ +\| (\w+) +\| (\S+\.ts) +\| ([A-Za-z.]+(?: returns)?) +\|$/gm);
  return [...rows].map(([, member = "", place = "", call = ""]) => ({ member, place, call }));
}

type Method = (this: object, ...args: unknown[]) => unknown;

/** Reports every call of a method, and its return when it gives a promise. @returns a function that undoes it */
function trace(
  { place, call }: Step,
  report: (self: object, place: string, call: string) => void,
  seeReturn: boolean,
): () => void {
  const [className = "", method = ""] = call.split(".");
  // eslint-disable-next-line @typescript-eslint/no-require-imports -- the page names the file
  const module = require(join(ROOT, "src", place)) as Record<string, { prototype: Record<string, Method> }>;
  const prototype = module[className]?.prototype;
  const original = prototype?.[method];
  if (prototype === undefined || original === undefined) throw new Error(`${place} has no ${call}`);
  prototype[method] = function traced(...args) {
    report(this, place, call);
    const result = original.apply(this, args);
    if (seeReturn && result instanceof Promise) {
      void result.then(() => {
        report(this, place, `${call} returns`);
      });
    }
    return result;
  };
  return () => {
    prototype[method] = original;
  };
}

/** The member that an object is part of. Services have their member in their options; other parts belong to a Cluster. */
function ownerOf(self: object, members: readonly TestMember[]): TestMember | undefined {
  return members.find((member) => {
    const { cluster } = member.running;
    if (Object.values(cluster).includes(self)) return true;
    if (self === cluster.submissions["options"].changes || self === member.running["wire"].peers) return true;
    const options = (self as { options?: { backend?: () => unknown } }).options;
    return options?.backend?.() === cluster;
  });
}

test("AddMember at a follower is what docs/architecture.md shows", async () => {
  const steps = documentedSteps();
  expect(steps.length).toBeGreaterThanOrEqual(15);
  const cluster = await TestCluster.start(3);
  const undo: (() => void)[] = [];
  try {
    const leader = await cluster.stable();
    const follower = cluster.members.find((member) => member !== leader);
    if (follower === undefined) throw new Error("no follower");
    const seen: Step[] = [];
    const calls = steps.filter(({ call }) => !call.endsWith(" returns"));
    for (const step of calls.filter((a, i) => calls.findIndex((b) => b.call === a.call) === i)) {
      const seeReturn = steps.some(({ call }) => call === `${step.call} returns`);
      undo.push(
        trace(
          step,
          (self, place, call) => {
            const owner = ownerOf(self, cluster.members);
            // The third member only applies the entry, like the follower when it learns of the commit.
            if (owner === leader) seen.push({ member: "leader", place, call });
            else if (owner === follower && !call.startsWith("RosterMachine"))
              seen.push({ member: "follower", place, call });
          },
          seeReturn,
        ),
      );
    }
    const joiner = await cluster.joiner("n4");
    await follower.addMember({ name: "n4", peerUrl: joiner.config.peerUrl });
    expect(seen).toEqual(steps);
  } finally {
    for (const act of undo) act();
    await cluster.stop();
  }
}, 60_000);
