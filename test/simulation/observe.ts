/** Lets the checkers see what a member's storage and roster do, by wrapping a few methods of each instance. */
import type { Roster } from "../../src/roster/index";
import type { Storage } from "../../src/storage/storage";
import type { Member } from "./member";

export function watchStorage(member: Member, storage: Storage): Storage {
  const { host, world } = member;
  const append = storage.append.bind(storage);
  storage.append = (batch, done) => {
    world.checkers.appended(member, batch);
    append(batch, (error) => {
      if (error === null) {
        host.durable.apply(batch, (index, term) => {
          world.checkers.cut(member, index, term);
        });
      }
      done(error);
    });
  };
  const saveSnapshot = storage.saveSnapshot.bind(storage);
  storage.saveSnapshot = (snapshot, keepEntries, done) => {
    world.coverage.add("snapshot taken");
    world.checkers.snapshot(member, snapshot);
    saveSnapshot(snapshot, keepEntries, (error) => {
      if (error === null) member.snapshots++;
      done(error);
    });
  };
  return storage;
}

export function watchRoster(member: Member, roster: Roster): Roster {
  const apply = roster.apply.bind(roster);
  roster.apply = (entry) => {
    const result = apply(entry);
    member.world.checkers.applied(member, entry, result, roster);
    return result;
  };
  return roster;
}
