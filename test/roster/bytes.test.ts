/** Canonical bytes and the state hash. */
import * as fc from "fast-check";
import { fnv1a64, joinParts } from "../../src/roster/bytes";

/** FNV-1a written directly after its definition, with integers of any size. */
function fnvByDefinition(bytes: Uint8Array): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of bytes) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash.toString(16).padStart(16, "0");
}

test("the hash is FNV-1a", () => {
  const text = (value: string): Uint8Array => new TextEncoder().encode(value);
  // Test vectors of draft-eastlake-fnv.
  expect(fnv1a64(text(""))).toBe("cbf29ce484222325");
  expect(fnv1a64(text("a"))).toBe("af63dc4c8601ec8c");
  expect(fnv1a64(text("foobar"))).toBe("85944171f73967e8");
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      expect(fnv1a64(bytes)).toBe(fnvByDefinition(bytes));
    }),
  );
});

test("different lists of parts give different bytes", () => {
  const parts = fc.array(fc.string({ maxLength: 4 }), { maxLength: 4 });
  fc.assert(
    fc.property(parts, parts, (a, b) => {
      const same = JSON.stringify(a) === JSON.stringify(b);
      expect(Buffer.compare(joinParts(a), joinParts(b)) === 0).toBe(same);
    }),
  );
});
