/** Distributes seeds over worker processes, one per processor core. */
import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { Job, JobResult } from "./worker";

export interface PoolOptions {
  readonly workers: number | null;
  /** Name of a planted bug with which the workers load the sources; null for none. */
  readonly plant: string | null;
}

const ROOT = join(__dirname, "..", "..");

/**
 * Runs the seeds [first, last]. Calls `done` with each result, in no particular order; it returns false to stop.
 * @returns a promise that settles when no seed is running any more
 */
export async function runSeeds(
  seeds: { readonly first: number; readonly last: number },
  job: Omit<Job, "seed">,
  options: PoolOptions,
  done: (result: JobResult) => boolean,
): Promise<void> {
  const count = Math.min(options.workers ?? availableParallelism(), seeds.last - seeds.first + 1);
  let next = seeds.first;
  let stopped = false;
  const work = (child: ChildProcess): Promise<void> =>
    new Promise((resolve, reject) => {
      const give = (): void => {
        if (stopped || next > seeds.last) child.disconnect();
        else child.send({ ...job, seed: next++ } satisfies Job);
      };
      child.on("message", (result: JobResult) => {
        if (!stopped && !done(result)) stopped = true;
        give();
      });
      child.on("exit", (code) => {
        if (code === 0) resolve();
        else reject(new Error(`a worker ended with ${String(code)}`));
      });
      give();
    });
  const children = Array.from({ length: count }, () => start(options.plant));
  try {
    await Promise.all(children.map(work));
  } finally {
    for (const child of children) if (child.connected) child.kill();
  }
}

function start(plant: string | null): ChildProcess {
  const register = join(ROOT, "scripts", "swc-register.js");
  return fork(join(__dirname, "worker_entry.js"), [], {
    cwd: ROOT,
    execArgv: ["-r", register],
    env: { ...process.env, MUSTER_SIM_PLANT: plant ?? "" },
  });
}
