/**
 * Compares what a script's directives print with what the script expects.
 */
import type { Directive } from "./datadriven";

export interface ScriptResult {
  readonly passed: boolean;
  /** Where and how the output first differed. Only when not passed. */
  readonly firstDifference?: string;
}

/** Runs each directive in order and stops at the first whose output differs. */
export function compare(
  path: string,
  directives: readonly Directive[],
  run: (directive: Directive) => string,
): ScriptResult {
  if (directives.length === 0) return { passed: false, firstDifference: `${path}: no directives` };
  for (const directive of directives) {
    const actual = run(directive);
    if (actual === directive.expected) continue;
    return {
      passed: false,
      firstDifference: `${path}:${directive.pos}: ${directive.cmd}\nexpected:\n${directive.expected}\nactual:\n${actual}`,
    };
  }
  return { passed: true };
}
