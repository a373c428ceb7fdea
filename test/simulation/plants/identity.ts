/** Planted bugs: which data directory, which copy of it, and where its member is reached. */
import { plant } from "./plant";
import type { Plant } from "./plant";

const IDENTITY = "cluster/peer_identity.ts";

export const IDENTITY_PLANTS: readonly Plant[] = [
  plant(
    "bootstrap-without-waiting",
    "a new cluster is formed as soon as a majority of the initial members could",
    "server/first_start.ts",
    "if (missing.length === 0) return;",
    "if (2 * missing.length <= others.size) return;",
  ),
  plant(
    "met-not-recorded",
    "which data directories were met is kept in memory only",
    IDENTITY,
    "if (this.store === null) this.wrote(this.withPending());",
    "if (this.store !== undefined) this.wrote(this.withPending());",
  ),
  plant(
    "met-recorded-after-the-message",
    "messages are taken before it is on the disk that their sender was met",
    IDENTITY,
    "if (!this.hasMet(from, instanceId)) this.hold(from, instanceId, messages);",
    "if (!this.hasMet(from, instanceId) && from === 0n) this.hold(from, instanceId, messages);",
  ),
  plant(
    "second-address-never-used",
    "what members say of their own addresses is never used",
    "replica/peer_set.ts",
    "this.second.set(id, url);",
    "",
  ),
  plant(
    "hints-never-asked",
    "the addresses of initial-cluster are never asked after the first start",
    "cluster/address_hints.ts",
    "if (this.missesMembers()) void this.ask();",
    "",
  ),
  {
    name: "boot-id-not-compared",
    bug: "boot ids are published and told, and nobody compares them",
    breaks: "one_directory",
    edits: [
      {
        file: "roster/rules.ts",
        find: "if (known.length === 0 || bootId.length === 0) return true;",
        replace: "if (known.length >= 0 || bootId.length === 0) return true;",
      },
      {
        file: "cluster/boots.ts",
        find: "if (at < 0) return false;",
        replace: "if (at < 0) return true;",
      },
    ],
  },
];
