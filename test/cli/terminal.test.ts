/** Asking the person at the terminal. */
import { PassThrough } from "node:stream";
import { askOnTerminal } from "../../src/cli/terminal";

test.each([
  ["a line", "y\nmore\n", "y"],
  ["a plain Enter", "\n", ""],
  ["the end of the input", null, ""],
])("%s is the answer", async (_what, typed, answer) => {
  const [input, output] = [new PassThrough(), new PassThrough()];
  const asked = askOnTerminal(input, output, "go on? ");
  if (typed === null) input.end();
  else input.write(typed);
  expect(await asked).toBe(answer);
  expect(String(output.read())).toBe("go on? ");
});
