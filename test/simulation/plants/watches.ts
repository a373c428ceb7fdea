/** Planted bugs: watches, and the events of the roster. */
import { plant } from "./plant";
import type { Plant } from "./plant";

const WATCHES = "cluster/watch/watches.ts";
const WATCHER = "cluster/watch/watcher.ts";

export const WATCH_PLANTS: readonly Plant[] = [
  plant(
    "watch-goes-on-after-a-gap",
    "a watch that the history has passed, as by a snapshot, goes on at the newest revision",
    WATCHES,
    "        this.end(watcher, (error ??= compactedError(oldestRevision)));",
    "        watcher.revision = oldestRevision;",
  ),
  plant(
    "event-lost-on-a-leader-change",
    "a watch that is told of another leader misses the changes that wait",
    WATCHES,
    "      watcher.leaderDue = true;\n",
    "      watcher.leaderDue = true;\n      watcher.revision = Math.max(watcher.revision, this.options.changes().revision);\n",
  ),
  plant(
    "leader-before-the-events",
    "a watch is told of the leader before the changes that came first",
    WATCHES,
    "if (watcher.revision < changes.revision) return this.nextChanges(watcher, changes);",
    "if (watcher.revision < changes.revision && !watcher.leaderDue) return this.nextChanges(watcher, changes);",
  ),
  plant(
    "busy-watch-not-woken",
    "a change that comes while a watch writes is not sent afterwards",
    WATCHES,
    "if (watcher.isBehind(this.options.changes().revision)) this.enqueue(watcher);",
    "if (watcher.leaderDue) this.enqueue(watcher);",
  ),
  plant(
    "half-of-a-step",
    "of the events of one revision a watch gets the first only",
    "roster/events.ts",
    "if (event === undefined || event.revision !== (step[0]?.revision ?? event.revision)) return step;",
    "if (event === undefined || step.length > 0) return step;",
  ),
  plant(
    "roster-from-before",
    "a watch begins with the roster as it was when another watch began in this term",
    "cluster/watch/shared_message.ts",
    "const isCurrent = revision === this.revision && term === this.term && leader === this.leader;",
    "const isCurrent = term === this.term && leader === this.leader;",
  ),
  plant(
    "resumed-where-the-member-is",
    "a watch that is ahead of its member begins where that member is",
    WATCHES,
    "        const watcher = new Watcher(fields, sink, this.onTaken, reject);",
    "        const watcher = new Watcher(fields, sink, this.onTaken, reject);\n        watcher.revision = Math.min(watcher.revision, changes().revision);",
  ),
  plant(
    "resumed-one-too-early",
    "a watch that goes on gets the changes of its start revision again",
    WATCHER,
    "this.revision = startRevision ?? 0;",
    "this.revision = Math.max(0, (startRevision ?? 0) - 1);",
  ),
  plant(
    "events-lost-in-a-snapshot",
    "restoring a snapshot drops its newest event",
    "roster/roster.ts",
    "      roster.events.append(event);",
    "      if (event !== state.events.at(-1)) roster.events.append(event);",
    "watch_history",
  ),
  plant(
    "removal-without-its-member",
    "the event of a removal has the member as it is after the change",
    "roster/view.ts",
    "const [after, before] = isRemoval ? [undefined, member] : [member, previous];",
    "const [after, before] = [member, previous];",
  ),
  plant(
    "publish-without-its-author",
    "the event of a publish names the member that carried the call",
    "roster/roster.ts",
    'const by = body?.$case === "publish" ? PUBLISHED_BY : caller;',
    "const by = caller;",
  ),
];
