/** Runs the command inside the test's process and keeps its output. */
import { main } from "../../../src/cli/main";
import type { Io, StopCause } from "../../../src/cli/io";
import { FakeClock } from "../../client/support/fake_clock";

/** A fake process with streams, environment and signals only. */
export class FakeProcess implements Io {
  out = "";
  err = "";
  readonly clock = new FakeClock();
  readonly bytes: Uint8Array[] = [];
  readonly questions: string[] = [];
  /** Nobody is there, unless answering() was called. */
  ask: Io["ask"];
  readonly stdout = {
    write: (text: string): void => void (this.out += text),
    writeBytes: async (bytes: Uint8Array): Promise<void> => void this.bytes.push(bytes),
  };
  readonly stderr = { write: (text: string): void => void (this.err += text) };
  private readonly listeners = new Map<(cause: StopCause) => void, readonly StopCause[]>();

  constructor(readonly env: Readonly<Record<string, string>> = {}) {}

  /** A person at the terminal types these lines. */
  answering(...lines: string[]): this {
    this.ask = (question) => {
      this.questions.push(question);
      return Promise.resolve(lines.shift() ?? "");
    };
    return this;
  }

  onStop(causes: readonly StopCause[], listener: (cause: StopCause) => void): () => void {
    this.listeners.set(listener, causes);
    return () => this.listeners.delete(listener);
  }

  /** Number of listeners for a signal. */
  listening(cause: StopCause): number {
    return [...this.listeners.values()].filter((causes) => causes.includes(cause)).length;
  }

  signal(cause: StopCause): void {
    for (const [listener, causes] of this.listeners) if (causes.includes(cause)) listener(cause);
  }
}

export interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs `muster` with these arguments. */
export async function muster(words: readonly string[], env: Record<string, string> = {}): Promise<Outcome> {
  const io = new FakeProcess(env);
  const code = await main(words, io);
  return { code, out: io.out, err: io.err };
}

/** Waits, without a clock, until the condition holds. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}
