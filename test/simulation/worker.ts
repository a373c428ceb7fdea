/** A worker process: receives seeds, runs them one after another, and sends back the result of each. */
import type { Fault } from "./profile";
import { simulate } from "./run";
import type { RunResult } from "./run";

export interface Job {
  readonly seed: number;
  readonly events: number;
  readonly without: readonly Fault[];
  readonly twice: boolean;
}

export interface JobResult {
  readonly result: RunResult;
  /** Whether both runs had the same hash, with the option `twice`. */
  readonly isSame: boolean;
  /** CPU time of the run, in milliseconds. */
  readonly cpuMs: number;
}

export async function runJob(job: Job): Promise<JobResult> {
  const { seed, events } = job;
  const without = new Set(job.without);
  const before = process.cpuUsage();
  const result = await simulate({ seed, events, without });
  const used = process.cpuUsage(before);
  const again = job.twice ? await simulate({ seed, events, without }) : result;
  return { result, isSame: again.hash === result.hash, cpuMs: (used.user + used.system) / 1000 };
}

if (process.send !== undefined) {
  const send = process.send.bind(process);
  process.on("message", (job: Job) => {
    void runJob(job).then((result) => send(result));
  });
}
