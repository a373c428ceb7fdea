/**
 * Converts the core's values to those of the generated code of muster.raft.v1, field by field.
 *
 * The enums of both sides have the same numbers. Data is not copied.
 */
import type {
  ConfChange as WireConfChange,
  ConfState as WireConfState,
  Message as WireMessage,
} from "../generated/muster/raft/v1/raft";
import { asBuffer } from "../base/bytes";
import type { ConfChange, ConfState, Message } from "../raft/index";

/** A membership change of the generated code. */
export function confChangeToWire(change: ConfChange): WireConfChange {
  return {
    transition: change.transition,
    changes: change.changes.map(({ type, nodeId }) => ({ type, nodeId })),
    context: asBuffer(change.context),
  };
}

/** A message of the generated code, without the data of a snapshot. Not for the hot path. */
export function messageToWire(message: Message): WireMessage {
  const { snapshot } = message;
  return {
    type: message.type,
    to: message.to,
    from: message.from,
    term: message.term,
    logTerm: message.logTerm,
    index: message.index,
    entries: message.entries.map((entry) => ({
      term: entry.term,
      index: entry.index,
      type: entry.type,
      data: asBuffer(entry.data),
      confChange: entry.confChange === null ? undefined : confChangeToWire(entry.confChange),
    })),
    commit: message.commit,
    reject: message.reject,
    rejectHint: message.rejectHint,
    context: message.context,
    forced: message.forced,
    snapshot:
      snapshot === null
        ? undefined
        : {
            index: snapshot.meta.index,
            term: snapshot.meta.term,
            confState: confStateToWire(snapshot.meta.confState),
          },
  };
}

function confStateToWire(state: ConfState): WireConfState {
  return {
    voters: [...state.voters],
    learners: [...state.learners],
    votersOutgoing: [...state.votersOutgoing],
    learnersNext: [...state.learnersNext],
    autoLeave: state.autoLeave,
  };
}
