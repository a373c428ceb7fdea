/** Chained checksums do not depend on how an empty byte array was created. */
import { chainCrc } from "../../src/storage/crc";

test("the check value of CRC-32 (ISO-HDLC)", () => {
  expect(chainCrc(Buffer.from("123456789"))).toBe(0xcbf43926);
});

test("chaining over parts equals one pass", () => {
  const whole = Buffer.from("a record and its payload");
  expect(chainCrc(whole.subarray(8), chainCrc(whole.subarray(0, 8)))).toBe(chainCrc(whole));
});

test.each([
  ["a view of nothing", new Uint8Array(new ArrayBuffer(0))],
  ["an empty part of an empty buffer", Buffer.from("").subarray(0)],
  ["an empty part of a buffer", Buffer.from("abc").subarray(3)],
])("%s does not change the checksum", (_, empty) => {
  expect(chainCrc(empty, 0x1234)).toBe(0x1234);
});
