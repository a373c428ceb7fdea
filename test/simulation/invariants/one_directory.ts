/**
 * A directory that is a copy from before a start which every other member knows of is never published: the roster takes
 * no boot id of a process that runs from it (docs/adr/0015-boot-ids.md).
 */
import type { Entry } from "../../../src/raft/index";
import type { ApplyResult } from "../../../src/roster/index";
import type { Member } from "../member";
import type { Observer } from "../observer";
import { Violation } from "../violation";
import type { World } from "../world";

export class OneDirectory implements Observer {
  constructor(private readonly world: World) {}

  applied(member: Member, { index }: Entry, result: ApplyResult): void {
    if (result.kind !== "command" || !result.decision.accepted) return;
    const { body } = result.command;
    if (body?.$case !== "publish") return;
    const { id, bootId } = body.value;
    const published = hexOf(bootId);
    for (const host of this.world.hosts) {
      // Ids that the original drew too, before it was copied, say nothing.
      if (host.bootsCopied === null || host.id !== id || host.bootsCopied.includes(published)) continue;
      if (hexOf(host.running?.cluster?.boots?.claim.bootId ?? EMPTY) !== published) continue;
      const text = `${member.label} applies at ${index} that ${host.label} is published, from a copy`;
      throw new Violation("one_directory", text);
    }
  }
}

const EMPTY = new Uint8Array(0);

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
