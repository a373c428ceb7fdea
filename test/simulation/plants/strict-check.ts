/** Planted bugs: the strict reconfiguration check and its questions. */
import { plant } from "./plant";
import type { Plant } from "./plant";

const CHECK = "cluster/leader/change_check.ts";

export const STRICT_CHECK_PLANTS: readonly Plant[] = [
  plant(
    "peer-url-not-asked",
    "a voter may be given any peer URL, whoever answers there",
    CHECK,
    "if (target.learner || isSame) return OK;",
    "if (!isSame || target.learner || isSame) return OK;",
  ),
  plant(
    "peer-url-of-any-member",
    "a voter's new peer URL passes as soon as some member of the cluster answers there",
    "cluster/leader/url_check.ts",
    "if (answer.memberId !== member.id) return",
    "if (answer.memberId !== 0n) return null;\n  if (answer.memberId !== member.id) return",
  ),
  {
    name: "handover-ends-the-check",
    bug: "after a handover that failed no other member is tried, and the check is not made again",
    edits: [
      {
        file: "cluster/leader/change_queue.ts",
        find: "const successor = isLate ? null",
        replace: "const successor = isLate || head.tried.size > 0 ? null",
      },
      {
        file: "cluster/leader/admission.ts",
        find: "changesConfiguration ? checkChange(command, view) : OK;",
        replace:
          'changesConfiguration && !view.handoverFailed && !("progress" in view && (view.progress as { failedSuccessor: unknown }).failedSuccessor !== null) ? checkChange(command, view) : OK;',
      },
    ],
  },
  plant(
    "failures-tolerated-not-compared",
    "a change passes although fewer failures are tolerated after it",
    CHECK,
    "if (tolerated >= failuresTolerated(voters)) {",
    "if (tolerated >= -1) {",
  ),
];
