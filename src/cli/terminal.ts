/**
 * Asks the person at the terminal.
 */
import { createInterface } from "node:readline/promises";

/**
 * Asks a question and reads one line. Resolves with an empty text when the input ends. Ctrl-C ends the process, as it does
 * anywhere: the terminal is left in the mode in which it edits lines itself.
 */
export async function askOnTerminal(
  input: NodeJS.ReadableStream,
  output: NodeJS.WritableStream,
  question: string,
): Promise<string> {
  const lines = createInterface({ input, output, terminal: false });
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
