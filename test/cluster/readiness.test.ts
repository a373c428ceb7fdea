/** What keeps a learner from being made a voter, one by one, and the refusal that says it. */
import { LAG_ENTRIES_MAX, notReady, readinessOf } from "../../src/cluster/leader/readiness";
import type { LearnerHealth } from "../../src/cluster/leader/readiness";

const ELECTION_TICKS = 10;
const TIMES = { electionTicks: ELECTION_TICKS, heartbeatMs: 100 };

const READY: LearnerHealth = {
  id: 0x4n,
  name: "n4",
  started: true,
  inContactTicks: 2 * ELECTION_TICKS,
  lagEntries: LAG_ENTRIES_MAX,
  holdsNewestChange: true,
  hasSpace: true,
};

const refusalOf = (learner: LearnerHealth) => notReady(learner, readinessOf(learner, ELECTION_TICKS), TIMES);

test("a learner that has all of it is ready", () => {
  expect(readinessOf(READY, ELECTION_TICKS)).toEqual({ ready: true, missing: [], ticks: null });
});

test.each<[string, Partial<LearnerHealth>, RegExp, number | null]>([
  ["never started", { started: false }, /has not started/, null],
  ["not in contact", { inContactTicks: null }, /not in contact/, null],
  ["one tick too short in contact", { inContactTicks: 19 }, /two election timeouts/, 1],
  ["in contact since now", { inContactTicks: 0 }, /two election timeouts/, 20],
  ["one entry too far behind", { lagEntries: LAG_ENTRIES_MAX + 1 }, /251 entries behind/, null],
  ["without the newest change", { holdsNewestChange: false }, /newest membership change/, null],
  ["a full disk", { hasSpace: false }, /disk is full/, null],
  // Time alone would not do.
  ["short in contact, and behind", { inContactTicks: 5, lagEntries: 1000 }, /1000 entries.*two elec/, null],
])("not ready: %s", (_, changed, text, ticks) => {
  const learner = { ...READY, ...changed };
  const readiness = readinessOf(learner, ELECTION_TICKS);
  expect(readiness.ready).toBe(false);
  expect(readiness.ticks).toBe(ticks);
  const error = refusalOf(learner);
  expect(error.message).toMatch(text);
  expect(error.retryDelayMs).toBe((ticks ?? 20) * 100);
});

test("the refusal says in metadata what is missing", () => {
  const { refusal } = refusalOf({ ...READY, started: false, inContactTicks: 3, lagEntries: 7 });
  expect(refusal.reason).toBe("LEARNER_NOT_READY");
  expect(refusal.metadata).toEqual({
    id: "4",
    name: "n4",
    started: "false",
    in_contact: "false",
    lag_entries: "7",
  });
  expect(refusalOf({ ...READY, lagEntries: 300 }).refusal.metadata).toMatchObject({
    started: "true",
    in_contact: "true",
    lag_entries: "300",
  });
});
