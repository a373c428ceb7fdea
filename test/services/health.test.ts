/** Health as the wire shows it: every service alike, changes only, NOT_SERVING for good at the end. */
import { HEALTH_SERVICES, Health } from "../../src/services/health";

let reported: [string, boolean][];
let health: Health;

beforeEach(() => {
  reported = [];
  health = new Health({ set: (service, serving) => reported.push([service, serving]) });
});

const both = (serving: boolean): [string, boolean][] => [
  ["", serving],
  ["muster.v1.MembershipService", serving],
];

test("the services are the whole server and MembershipService", () => {
  expect(HEALTH_SERVICES).toEqual(["", "muster.v1.MembershipService"]);
});

test("nothing is set before the first change: services are NOT_SERVING at first", () => {
  health.set(false);
  expect(reported).toEqual([]);
});

test("every service is set at each change, and only then", () => {
  health.set(true);
  health.set(true);
  expect(reported).toEqual(both(true));
  health.set(false);
  health.set(false);
  expect(reported).toEqual([...both(true), ...both(false)]);
  health.set(true);
  expect(reported).toHaveLength(6);
});

test("after end() nothing serves any more", () => {
  health.set(true);
  reported.length = 0;
  health.end();
  expect(reported).toEqual(both(false));
  health.set(true);
  health.end();
  expect(reported).toEqual(both(false));
});
