/** In contact: from the first message of a term until one election timeout without one. */
import { ContactTracker } from "../../src/replica/contact";

const ELECTION_TICKS = 10;
let contacts: ContactTracker;
beforeEach(() => {
  contacts = new ContactTracker(ELECTION_TICKS);
});

test("nobody is in contact before it was heard", () => {
  expect(contacts.inContactTicks(1n, 100)).toBeNull();
  expect(contacts.lastHeardMs(1n)).toBeNull();
});

test("contact counts from the first message on, and lasts less than an election timeout after the last", () => {
  contacts.heard(1n, 5, 50);
  expect(contacts.inContactTicks(1n, 5)).toBe(0);
  contacts.heard(1n, 14, 140);
  expect(contacts.inContactTicks(1n, 23)).toBe(18);
  expect(contacts.inContactTicks(1n, 24)).toBeNull();
  expect(contacts.lastHeardMs(1n)).toBe(140);
  expect(contacts.inContactTicks(2n, 14)).toBeNull();
});

test("after a break it counts anew", () => {
  contacts.heard(1n, 0, 0);
  contacts.heard(1n, 9, 90);
  expect(contacts.inContactTicks(1n, 9)).toBe(9);
  contacts.heard(1n, 19, 190);
  expect(contacts.inContactTicks(1n, 19)).toBe(0);
});

test("a new term of leadership has heard nobody", () => {
  contacts.heard(1n, 0, 0);
  contacts.reset();
  expect(contacts.inContactTicks(1n, 0)).toBeNull();
  expect(contacts.lastHeardMs(1n)).toBeNull();
});
