/**
 * Every member ever removed. Never pruned, because an id is never used again.
 *
 * Sorted by id only when all of them are read. The sort treats the sorted beginning as one run, so that it costs little
 * when few members were removed since the last snapshot. Pure.
 */
import type { Tombstone } from "../generated/muster/storage/v1/snapshot";
import { compareIds } from "./ids";

export class Tombstones {
  private readonly list: Tombstone[] = [];
  private isSorted = true;
  private readonly byId = new Map<bigint, Tombstone>();
  private readonly byName = new Map<string, Tombstone[]>();

  /** Called at most once per id, in ascending order of revision. */
  add(tombstone: Tombstone): void {
    const last = this.list.at(-1);
    if (last !== undefined && last.id > tombstone.id) this.isSorted = false;
    this.list.push(tombstone);
    this.byId.set(tombstone.id, tombstone);
    const sameName = this.byName.get(tombstone.name);
    if (sameName === undefined) this.byName.set(tombstone.name, [tombstone]);
    else sameName.push(tombstone);
  }

  /** Adds a snapshot's tombstones; their order does not matter. */
  addAll(tombstones: readonly Tombstone[]): void {
    for (const tombstone of tombstones) this.add(tombstone);
    for (const sameName of this.byName.values()) sameName.sort((a, b) => a.revision - b.revision);
  }

  get(id: bigint): Tombstone | null {
    return this.byId.get(id) ?? null;
  }

  /** The removed members that had this name, oldest removal first. */
  named(name: string): readonly Tombstone[] {
    return this.byName.get(name) ?? [];
  }

  /** Every tombstone, in ascending order of id. */
  all(): readonly Tombstone[] {
    if (!this.isSorted) this.list.sort((a, b) => compareIds(a.id, b.id));
    this.isSorted = true;
    return this.list;
  }
}
