/** Planted bugs: the memory of requests, and attempts that arrive late. */
import { plant } from "./plant";
import type { Plant } from "./plant";

const REQUESTS = "roster/requests.ts";

export const REQUEST_MEMORY_PLANTS: readonly Plant[] = [
  plant(
    "refusal-not-logged",
    "a leader refuses a repeated attempt early, without a word to the attempt that is still on its way",
    "cluster/leader/submissions.ts",
    "if (refusal === null) open.finish(outcome);",
    "if (refusal === null || roster.revision >= 0) open.finish(outcome);",
  ),
  plant(
    "attempt-not-passed-on",
    "a member that forwards a call does not say that it is a repeated attempt",
    "cluster/attempts.ts",
    "if (this.repeats) own.push(",
    "if (this.repeats && this.base < 0) own.push(",
  ),
  plant(
    "lost-forward-not-counted",
    "a member does not count a forward that was lost as an attempt",
    "cluster/attempts.ts",
    "return this.ambiguous || this.number > 1;",
    "return this.number > 1;",
  ),
  plant(
    "outcomes-forgotten-by-number",
    "outcomes are forgotten by the number of later ones alone",
    REQUESTS,
    "return outcome !== undefined && clock.now - outcome.timeMs >= this.limits.keptMs;",
    "return outcome !== undefined && clock.now >= outcome.timeMs;",
  ),
  plant(
    "change-of-nothing-remembered",
    "what changed nothing under a request id that a member drew is remembered",
    REQUESTS,
    "if (clock !== null && generatedRequestId && decision.accepted && !decision.changed) return;",
    "",
  ),
  plant(
    "clock-of-the-leader-taken",
    "the age of an outcome is measured by the wall clocks of leaders as they are",
    "roster/request_clock.ts",
    "this.timeMs += Math.min(this.leapMsMax, Math.max(0, passedMs));",
    "this.timeMs = Math.max(this.timeMs + Math.min(0, passedMs), wallMs);",
  ),
];
