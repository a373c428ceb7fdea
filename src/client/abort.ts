/** Signals that follow other signals. */

/** A signal that is aborted with any of its sources, or by `abort`. */
export interface LinkedAbort {
  readonly signal: AbortSignal;
  abort(): void;
  /** Stops following the sources. To be called when the work has ended: a source may live longer than the work. */
  release(): void;
}

/**
 * AbortSignal.any() does the same, but keeps its dependents registered at a source for as long as the source lives in some
 * releases of Node 20: a client's signal would collect one for each call.
 */
export function linkedAbort(...sources: readonly (AbortSignal | undefined)[]): LinkedAbort {
  const controller = new AbortController();
  const abort = (): void => {
    controller.abort();
  };
  for (const source of sources) {
    if (source?.aborted === true) abort();
    else source?.addEventListener("abort", abort, { once: true });
  }
  return {
    signal: controller.signal,
    abort,
    release: () => {
      for (const source of sources) source?.removeEventListener("abort", abort);
    },
  };
}
