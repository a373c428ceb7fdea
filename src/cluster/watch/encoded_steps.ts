/**
 * The roster's kept changes as bytes, encoded once for all watches.
 *
 * A step is the events of one revision. A message has as many steps as fit, and watches at the same revision get the same
 * message. Only a bounded part is kept encoded; the changes themselves are in the roster.
 */
import { MemberEventList, WatchMembersResponse } from "../../generated/muster/v1/membership_service";
import type { ResponseHeader } from "../../generated/muster/v1/membership_service";
import { toMemberEvent } from "../../roster/index";
import type { Roster, RosterEvent } from "../../roster/index";

/** Bytes of encoded steps that are kept: those that were encoded first go first. */
const STEP_BYTES_KEPT = 4 * 1024 * 1024;
/** Bytes of messages that are kept while the roster stays as it is. */
const MESSAGE_BYTES_KEPT = 4 * 1024 * 1024;
/** A message gets no further step beyond this many bytes: well below every client's limit, and long enough to catch up. */
const MESSAGE_BYTES = 64 * 1024;

/** The kept changes of a roster, and what is needed of it. */
export type KeptChanges = Pick<Roster, "revision" | "oldestRevision" | "stepAfter">;

/** A message, and the revision that its reader has reached after it. */
interface StepsMessage {
  readonly revision: number;
  readonly bytes: Buffer;
}

export class EncodedSteps {
  private readonly steps = new Map<number, Buffer>();
  private stepBytes = 0;
  /** By the revision of the reader, for one revision of the roster. */
  private readonly messages = new Map<number, StepsMessage>();
  private messageBytes = 0;
  private messagesAt = 0;

  /** @param header of a message whose last step has this revision */
  constructor(private readonly header: (revision: number) => ResponseHeader) {}

  /** The message for a reader that has everything up to `revision`; null when the changes after it are not kept. */
  after(revision: number, changes: KeptChanges): StepsMessage | null {
    if (this.messagesAt !== changes.revision) {
      this.messagesAt = changes.revision;
      this.messages.clear();
      this.messageBytes = 0;
    }
    const known = this.messages.get(revision);
    if (known !== undefined) return known;
    const message = this.build(revision, changes);
    if (message !== null && this.messageBytes < MESSAGE_BYTES_KEPT) {
      this.messages.set(revision, message);
      this.messageBytes += message.bytes.length;
    }
    return message;
  }

  private build(revision: number, changes: KeptChanges): StepsMessage | null {
    if (revision < changes.oldestRevision) return null;
    const parts: Buffer[] = [];
    let size = 0;
    let reached = revision;
    while (size < MESSAGE_BYTES) {
      const events = changes.stepAfter(reached);
      const [first] = events;
      if (first === undefined) break;
      const part = this.encoded(first.revision, events);
      parts.push(part);
      size += part.length;
      reached = first.revision;
    }
    if (parts.length === 0) return null;
    return { revision: reached, bytes: framed(this.header(reached), parts, size) };
  }

  private encoded(revision: number, events: readonly RosterEvent[]): Buffer {
    const known = this.steps.get(revision);
    if (known !== undefined) return known;
    const bytes = Buffer.from(MemberEventList.encode({ events: events.map(toMemberEvent) }).finish());
    this.steps.set(revision, bytes);
    this.stepBytes += bytes.length;
    for (const [oldest, dropped] of this.steps) {
      if (this.stepBytes <= STEP_BYTES_KEPT) break;
      this.steps.delete(oldest);
      this.stepBytes -= dropped.length;
    }
    return bytes;
  }
}

/** The tag of WatchMembersResponse.events: field 3, length-delimited. */
const EVENTS_TAG = (3 << 3) | 2;

/**
 * A WatchMembersResponse from the bytes of its events: a list is the concatenation of its parts, so no event is encoded
 * again.
 */
function framed(header: ResponseHeader, parts: readonly Buffer[], size: number): Buffer {
  const head = WatchMembersResponse.encode({ header, part: undefined }).finish();
  return Buffer.concat([head, Buffer.from([EVENTS_TAG, ...varint(size)]), ...parts]);
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  for (; value >= 0x80; value = Math.floor(value / 0x80)) bytes.push((value % 0x80) | 0x80);
  return [...bytes, value];
}
