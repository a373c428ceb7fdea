/** Pauses between attempts, and the addresses that are dialled. */
import fc from "fast-check";
import { Backoff } from "../../src/transport/backoff";
import { dialTarget } from "../../src/transport/dial";

test("pauses stay between 100 ms and 1 s whatever chance says, and reach the upper half of the last step", () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), { minLength: 6 }),
      (draws) => {
        let drawn = 0;
        const backoff = new Backoff({ below: (n) => Math.floor((draws[drawn++] ?? 0) * n) });
        const pauses = draws.map(() => backoff.next());
        expect(Math.min(...pauses)).toBeGreaterThanOrEqual(100);
        expect(Math.max(...pauses)).toBeLessThanOrEqual(1000);
        expect(Math.min(...pauses.slice(4))).toBeGreaterThanOrEqual(500);
        backoff.reset();
        expect(backoff.next()).toBe(100);
      },
    ),
  );
});

test("chance spreads the pauses", () => {
  const low = new Backoff({ below: () => 0 });
  const high = new Backoff({ below: (n) => n - 1 });
  expect([1, 2, 3, 4, 5, 6].map(() => low.next())).toEqual([100, 100, 200, 400, 500, 500]);
  expect([1, 2, 3, 4, 5, 6].map(() => high.next())).toEqual([100, 200, 400, 800, 1000, 1000]);
});

test.each([
  ["http://127.0.0.1:7461", "dns:127.0.0.1:7461"],
  ["https://n1.example:7461", "dns:n1.example:7461"],
  ["http://[::1]:7461", "dns:[::1]:7461"],
  ["http://n1:80", "dns:n1:80"],
  ["https://n1:443", "dns:n1:443"],
])("%s is dialled as %s", (url, target) => {
  expect(dialTarget(url)).toBe(target);
});

const NO_PEER_URLS = [
  "",
  "n1:7461",
  "ftp://n1:7461",
  "http://",
  "unix:/tmp/x",
  "http://n1",
  "http://xn--a:1",
];
test.each(NO_PEER_URLS)("%p is no peer URL", (url) => {
  expect(() => dialTarget(url)).toThrow("not a peer URL");
});
