/** Checks that a data directory belongs to the configured member, by the name in the roster or in later log entries. */
import type { Entry } from "../raft/index";
import { decodeCommand, formatId } from "../roster/index";
import type { RosterView } from "../roster/index";
import type { Storage } from "../storage/storage";
import type { ServerConfig } from "./config";
import { StartRefusedError } from "./errors";

/** @throws StartRefusedError when the data directory belongs to another member */
export function checkOwner(
  config: Pick<ServerConfig, "name" | "dataDir">,
  storage: Storage,
  roster: RosterView,
): void {
  const { memberId } = storage.identity;
  const name = roster.member(memberId)?.name ?? nameInLog(storage, memberId);
  if (name === null || name === config.name) return;
  throw new StartRefusedError(
    `data-dir ${config.dataDir} belongs to member ${name} (${formatId(memberId)}), ` +
      `but the configured name is ${config.name}: correct one of them`,
  );
}

/** The name of the member in the log entry that added it; null when the log has no such entry. */
function nameInLog(storage: Storage, id: bigint): string | null {
  const read = storage.entries(storage.firstIndex(), storage.lastIndex() + 1, Infinity);
  if (typeof read === "string") return null;
  return read.map((entry) => addedName(entry, id)).find((name) => name !== null) ?? null;
}

function addedName({ confChange }: Entry, id: bigint): string | null {
  if (confChange === null || !confChange.changes.some((change) => change.nodeId === id)) return null;
  const { body } = decodeCommand(confChange.context);
  return body?.$case === "addMember" && body.value.id === id ? body.value.name : null;
}
