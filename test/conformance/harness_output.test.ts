/**
 * By default the interaction runner prints exactly what etcd-raft's own harness prints, so that scripts written for
 * that harness pass unchanged; `show-details` adds to it.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runInteractionFile } from "./interaction";
import { runFile as runQuorumFile } from "./quorum";

/** Member 1 leads, member 2 follows; the log ends at index 3. */
const LEADER = `
add-nodes 2 voters=(1,2) index=2
----
ok

campaign 1
----
ok

stabilize log-level=none
----
ok
`;

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "harness-"));
});
afterEach(() => {
  rmSync(dir, { recursive: true });
});

function script(text: string): string {
  const path = join(dir, "script.txt");
  writeFileSync(path, text);
  return path;
}

function expectOutput(directives: string): void {
  expect(runInteractionFile(script(`${LEADER}${directives}`))).toEqual({ passed: true });
}

test("nothing for a refused change; with show-details its reason", () => {
  expectOutput(`
propose-conf-change 1
r1 r2
----
ok

show-details
----
ok

propose-conf-change 1 transition=auto
----
not-joint: not in joint state; refusing empty conf change
`);
});

test("nothing for a refused read", () => {
  expectOutput(`
forget-leader 2
----
ok

read-index 2 7
----
ok

show-details
----
ok

read-index 2 7
----
read dropped
`);
});

test("no contexts of messages", () => {
  expectOutput(`
read-index 2 7
----
ok

process-ready 2
----
Ready MustSync=false:
Messages:
2->1 MsgReadIndex Term:0 Log:0/0
`);
});

test("progress on a leader only", () => {
  expectOutput(`
status 1
----
1: StateReplicate match=3 next=4
2: StateReplicate match=3 next=4

status 2
----
ok
`);
});

test("an error for a proposal that is forwarded to a member without a leader", () => {
  expectOutput(`
propose 2 x
----
ok

process-ready 2
----
Ready MustSync=false:
Messages:
2->1 MsgProp Term:0 Log:0/0 Entries:[0/0 EntryNormal "x"]

restart 1
----
ok

deliver-msgs 1
----
2->1 MsgProp Term:0 Log:0/0 Entries:[0/0 EntryNormal "x"]
raft proposal dropped
`);
});

/** The removal of 1 is applied while the write of a later entry is still under way at 1. */
const REMOVED_WHILE_WRITING = `
log-level none
----
ok

add-nodes 2 voters=(1,2) index=2 async-storage-writes=true
----
ok

campaign 1
----
ok

stabilize
----
ok

propose-conf-change 1
r1
----
ok

process-ready 1
----
ok

process-append-thread 1
----
ok

propose 1 late
----
ok

process-ready 1
----
ok

stabilize 2
----
ok

deliver-msgs 1
----
ok

process-ready 1
----
ok

process-apply-thread 1
----
ok

process-append-thread 1
----
ok

log-level debug
----
ok

deliver-msgs 1
----
ApplyThread->1 MsgStorageApplyResp Term:0 Log:0/0 Entries:[1/4 EntryConfChangeV2 r1]
1->1 MsgAppResp Term:1 Log:0/5
raft: cannot step as peer not found
AppendThread->1 MsgStorageAppendResp Term:1 Log:1/5
`;

test("an error for the answer of a member that the configuration no longer lists, the own one included", () => {
  expect(runInteractionFile(script(REMOVED_WHILE_WRITING))).toEqual({ passed: true });
});

test("ids in charts of a quorum in hex", () => {
  const chart = script(`
committed cfg=(10) idx=(5)
----
     idx
>      5    (id=a)
5
`);
  expect(runQuorumFile(chart)).toEqual({ passed: true });
});

test("the outcome of a snapshot is ok or fail, nothing else", () => {
  expect(() => runInteractionFile(script(`${LEADER}\nreport-snapshot 1 2 maybe\n----\nok\n`))).toThrow(
    "the outcome is ok or fail",
  );
});
