/**
 * Asks the person at the terminal.
 */
import { createInterface } from "node:readline/promises";

/**
 * Asks a question on stderr and reads one line from stdin. Resolves with an empty text when the input ends. Ctrl-C ends the
 * process, as it does anywhere: the terminal is left in the mode in which it edits lines itself.
 */
export async function askOnTerminal(question: string): Promise<string> {
  const lines = createInterface({ input: process.stdin, output: process.stderr, terminal: false });
  try {
    const ended = new Promise<string>((resolve) => {
      lines.once("close", () => {
        resolve("");
      });
    });
    return await Promise.race([lines.question(question), ended]);
  } finally {
    lines.close();
  }
}
